/* SPDX-License-Identifier: MIT */
/* A forwarded port, as written behind "hostfwd=". Shared with the NAT helper. */
#ifndef NESTOR_NET_HOSTFWD_H
#define NESTOR_NET_HOSTFWD_H

#include <netinet/in.h>

#include "base/log.h"
#include "base/types.h"

struct hostfwd {
	bool is_udp;
	struct in_addr host, guest;
	u16 host_port, guest_port;
};

/* PROTO:[HOST]:PORT-[GUEST]:GUESTPORT, with tcp or udp, IPv4 addresses; HOST
 * defaults to 127.0.0.1, GUEST to 10.0.2.15. */
int hostfwd_parse(const char *text, struct hostfwd *res, struct err *e);

#endif
