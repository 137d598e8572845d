// SPDX-License-Identifier: MIT
/* Requests and answers from anybody, as a connection brings them. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string.h>

#include "control/api.h"
#include "control/http.h"
#include "fuzz.h"

static void read_as(const uint8_t *data, size_t size, enum http_parser_type type, bool head_only)
{
	char parts[API_MAX_PARTS][API_PART_SIZE];
	struct http_conn c;
	struct http_msg m;
	bool known;
	char *line;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		return;
	http_write_all(fds[1], data, size);
	close(fds[1]);
	http_init(&c, fds[0], type);
	while (http_read(&c, &m, head_only) == 1) {
		api_find_route(m.method, m.target, parts, &known);
		http_query_number(m.target, "from", 0);
		http_msg_free(&m);
		if (head_only)
			while (http_read_line(&c, &line) == 1)
				free(line);
	}
	http_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_as(data, size, HTTP_REQUEST, false);
	read_as(data, size, HTTP_RESPONSE, false);
	read_as(data, size, HTTP_RESPONSE, true);
	return 0;
}

size_t fuzz_seed(unsigned i, uint8_t to[FUZZ_MAX])
{
	static const char *const seeds[] = {
		"GET /v1/vms/a/console?port=1&from=2 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nab",
		"POST /v1/vms HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}GET /v1 HTTP/1.1\r\n\r\n",
		"POST /v1/vms HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nNestor-From: 5\r\n\r\n{}\n\n{}\n",
	};

	if (i >= sizeof(seeds) / sizeof(seeds[0]))
		return 0;
	memcpy(to, seeds[i], strlen(seeds[i]));
	return strlen(seeds[i]);
}
