// SPDX-License-Identifier: MIT
/* Parses the text of a forwarded port. */
#include "net/hostfwd.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static int bad(const char *text, const char *why, struct err *e)
{
	return err_set(e, "cannot forward %s: %s; the form is tcp:HOST:PORT-:GUESTPORT", text, why);
}

/* Copies up to @end, which is skipped in @at; false if it is not there or the
 * part does not fit. */
static bool cut(const char **at, char end, char *to, size_t size)
{
	const char *p = end ? strchr(*at, end) : *at + strlen(*at);
	size_t len = p ? (size_t)(p - *at) : size;

	if (len >= size)
		return false;
	memcpy(to, *at, len);
	to[len] = 0;
	*at = end ? p + 1 : p;
	return true;
}

static bool parse_address(const char *s, const char *def, struct in_addr *res)
{
	if (!*s)
		s = def;
	if (!strcmp(s, "localhost"))
		s = "127.0.0.1";
	return inet_pton(AF_INET, s, res) == 1;
}

static bool parse_port(const char *s, u16 *res)
{
	char *end;
	unsigned long v = strtoul(s, &end, 10);

	*res = (u16)v;
	return *s >= '0' && *s <= '9' && !*end && v > 0 && v < 65536;
}

int hostfwd_parse(const char *text, struct hostfwd *res, struct err *e)
{
	char proto[8], host[64], port[8], guest[64], guest_port[8];
	const char *at = text;

	if (!cut(&at, ':', proto, sizeof(proto)) || !cut(&at, ':', host, sizeof(host)) ||
	    !cut(&at, '-', port, sizeof(port)) || !cut(&at, ':', guest, sizeof(guest)) ||
	    !cut(&at, 0, guest_port, sizeof(guest_port)))
		return bad(text, "it is incomplete", e);
	res->is_udp = !strcmp(proto, "udp");
	if (!res->is_udp && strcmp(proto, "tcp") != 0)
		return bad(text, "the protocol is neither tcp nor udp", e);
	if (!parse_address(host, "127.0.0.1", &res->host))
		return bad(text, "the host's address is no IPv4 address", e);
	if (!parse_address(guest, "10.0.2.15", &res->guest))
		return bad(text, "the guest's address is no IPv4 address", e);
	if (!parse_port(port, &res->host_port) || !parse_port(guest_port, &res->guest_port))
		return bad(text, "a port is not a number from 1 to 65535", e);
	return 0;
}
