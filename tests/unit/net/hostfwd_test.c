// SPDX-License-Identifier: MIT
#include "net/hostfwd.h"

#include <string.h>

#include "../../lib/test.h"

TEST(hostfwd, parses)
{
	struct hostfwd f;

	CHECK_EQ(hostfwd_parse("tcp:192.168.1.5:2222-:22", &f, NULL), 0);
	CHECK(!f.is_udp);
	CHECK_EQ(ntohl(f.host.s_addr), 0xc0a80105);
	CHECK_EQ(ntohl(f.guest.s_addr), 0x0a00020f);
	CHECK_EQ(f.host_port, 2222);
	CHECK_EQ(f.guest_port, 22);
	CHECK_EQ(hostfwd_parse("udp::53-10.0.2.20:5353", &f, NULL), 0);
	CHECK(f.is_udp);
	CHECK_EQ(ntohl(f.host.s_addr), 0x7f000001);
	CHECK_EQ(ntohl(f.guest.s_addr), 0x0a000214);
	CHECK_EQ(hostfwd_parse("tcp:localhost:1-:65535", &f, NULL), 0);
}

TEST(hostfwd, refuses)
{
	static const char *const bad[] = {
		"", "tcp", "tcp:", "tcp::", "tcp::80", "tcp::80-", "tcp::80-:", "sctp::80-:80",
		"tcp:x:80-:80", "tcp::0-:80", "tcp::65536-:80", "tcp::80-:99999999999", "tcp:: 80-:80",
		"tcp::80x-:80", "tcp::80-1.2.3:80", "tcp:1.2.3.4.5:80-:80", "tcp::80-:80 ",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct hostfwd f;
		struct err e = { "" };

		CHECK(hostfwd_parse(bad[i], &f, &e) != 0);
		CHECK(strstr(e.text, "cannot forward") != NULL);
	}
}
