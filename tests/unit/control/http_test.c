// SPDX-License-Identifier: MIT
#include "control/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../lib/test.h"

/* A connection whose other end has sent @text and closed. */
static void got(struct http_conn *c, const char *text, enum http_parser_type type, size_t piece)
{
	int fds[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CHECK_EQ(http_write_all(fds[1], text, strlen(text)), 0);
	close(fds[1]);
	http_init(c, fds[0], type);
	c->piece = piece;
}

TEST(http, two_requests_in_one_piece_are_two_messages)
{
	static const char text[] = "GET /v1/vms?a=1 HTTP/1.1\r\nHost: x\r\n\r\n"
				   "POST /v1/vms HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";

	for (size_t piece = 1; piece < sizeof(text); piece += 7) {
		struct http_conn c;
		struct http_msg m;

		got(&c, text, HTTP_REQUEST, piece);
		CHECK_EQ(http_read(&c, &m, false), 1);
		CHECK_STR(m.method, "GET");
		CHECK_STR(m.target, "/v1/vms?a=1");
		CHECK(m.keep_alive);
		http_msg_free(&m);
		CHECK_EQ(http_read(&c, &m, false), 1);
		CHECK_STR(m.method, "POST");
		CHECK_STR(m.body, "{}");
		http_msg_free(&m);
		CHECK_EQ(http_read(&c, &m, false), 0);
		http_free(&c);
	}
}

TEST(http, after_a_head_come_lines)
{
	struct http_conn c;
	struct http_msg m;
	char *line;

	got(&c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"a\":1}\n\nend", HTTP_RESPONSE, 4096);
	CHECK_EQ(http_read(&c, &m, true), 1);
	CHECK_EQ(m.status, 200);
	CHECK_EQ(http_read_line(&c, &line), 1);
	CHECK_STR(line, "{\"a\":1}");
	free(line);
	CHECK_EQ(http_read_line(&c, &line), 1);
	CHECK_STR(line, "");
	free(line);
	CHECK_EQ(http_read_line(&c, &line), 0); /* no line without its end */
	http_free(&c);
}

TEST(http, bytes_after_an_upgrade_stay_in_the_descriptor)
{
	struct http_conn c;
	struct http_msg m;
	char rest[16] = "";

	got(&c, "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\nNestor-From: 17\r\n\r\nboot",
	    HTTP_RESPONSE, 1);
	CHECK_EQ(http_read(&c, &m, false), 1);
	CHECK_EQ(m.status, 101);
	CHECK_EQ(m.from, 17);
	CHECK_EQ(read(c.fd, rest, sizeof(rest) - 1), 4);
	CHECK_STR(rest, "boot");
	http_free(&c);
}

TEST(http, nonsense_and_halves_are_errors)
{
	static const char *const bad[] = { "HELO x\r\n\r\n", "GET /v1 HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
					   "GET /v1 HT", "\x16\x03\x01\x02",
					   ("POST / HTTP/1.1\r\nContent-Length: "
					    "99999999999999999999999\r\n\r\n") };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct http_conn c;
		struct http_msg m;

		got(&c, bad[i], HTTP_REQUEST, 4096);
		CHECK((s64)http_read(&c, &m, false) < 0);
		http_free(&c);
	}
}

TEST(http, queries)
{
	CHECK_EQ(http_query_number("/x?port=2&from=77", "from", 5), 77);
	CHECK_EQ(http_query_number("/x?port=2&from=77", "port", 5), 2);
	CHECK_EQ(http_query_number("/x?port=2&xfrom=77", "from", 5), 5);
	CHECK_EQ(http_query_number("/x", "from", 5), 5);
}
