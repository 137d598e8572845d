// SPDX-License-Identifier: MIT
/* Option values of `nestor run`: good ones, and each kind of nonsense. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "../../lib/test.h"
#include "vm/config.h"

TEST(config, memory_sizes)
{
	static const struct {
		const char *text;
		u64 size;
	} good[] = {
		{ "512M", MIB(512) }, { "2G", GIB(2) }, { "2g", GIB(2) }, { "1GiB", GIB(1) },
		{ "64", MIB(64) }, { "4096K", MIB(4) }, { "2MB", MIB(2) }, { "900G", GIB(900) },
	};
	static const char *const bad[] = {
		"", "G", "1M", "0", "-1G", "+1G", "0x10M", "1.5G", "2GG", "2G ", " 2G", "2Gi2",
		"18446744073709551616", "99999999999T", "2Q", "1999K",
	};
	struct err e;
	u64 v;

	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		v = 0;
		CHECK_EQ(vm_parse_memory(good[i].text, &v, &e), 0);
		CHECK_EQ(v, good[i].size);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(vm_parse_memory(bad[i], &v, &e), -1);
}

TEST(config, numbers_of_cpus)
{
	static const char *const bad[] = { "", "0", "-1", "65", "two", "1x", "99999999999999999999" };
	struct err e;
	unsigned n = 0;

	CHECK_EQ(vm_parse_cpus("4", &n, &e), 0);
	CHECK_EQ(n, 4);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(vm_parse_cpus(bad[i], &n, &e), -1);
}

TEST(config, seconds)
{
	static const char *const bad[] = { "", "0", "-1", "nan", "1e99", "5s", "soon" };
	struct err e;
	u64 ns = 0;

	CHECK_EQ(vm_parse_seconds("--timeout", "1.5", &ns, &e), 0);
	CHECK_EQ(ns, NSEC_PER_SEC * 3 / 2);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(vm_parse_seconds("--timeout", bad[i], &ns, &e), -1);
}

TEST(config, disks)
{
	char plain[] = "a.img", ro[] = "b,c.img,readonly", none[] = "", only[] = ",readonly";
	struct vm_disk d;
	struct err e;

	CHECK_EQ(vm_parse_disk(plain, &d, &e), 0);
	CHECK(!d.readonly);
	CHECK_STR(d.path, "a.img");
	CHECK_EQ(vm_parse_disk(ro, &d, &e), 0);
	CHECK(d.readonly);
	CHECK_STR(d.path, "b,c.img");
	CHECK_EQ(vm_parse_disk(none, &d, &e), -1);
	CHECK_EQ(vm_parse_disk(only, &d, &e), -1);
}

static int parse_nic(const char *text, struct vm_config *c)
{
	struct err e;

	char *copy = strdup(text);

	test_keep(copy); /* the configuration points into it */
	return vm_parse_nic(copy, c, &e);
}

TEST(config, network_cards)
{
	static const char *const bad[] = {
		"", "usr", "userx", "user,", "user,foo=1", "user,hostfwd=", "user,hostfwd=tcp::0-:22",
		"user,hostfwd=tcp::2222-:", "user,hostfwd=sctp::1-:1", "user,hostfwd=tcp:1-:1",
		"user,hostfwd=tcp::65536-:22", "user,hostfwd=tcp::1-:22x", "none,hostfwd=tcp::1-:2",
	};
	struct vm_config c;

	vm_config_init(&c);
	CHECK_EQ(parse_nic("none", &c), 0);
	CHECK_EQ(c.nr_nics, 0);
	CHECK_EQ(parse_nic("user", &c), 0);
	CHECK_EQ(parse_nic("user,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp::53-:5353", &c), 0);
	CHECK_EQ(c.nr_nics, 2);
	CHECK_EQ(c.nics[1].nr_forwards, 2);
	CHECK_STR(c.nics[1].forwards[0], "tcp:127.0.0.1:2222-:22");
	CHECK_STR(c.nics[1].forwards[1], "udp::53-:5353");
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(parse_nic(bad[i], &c), -1);
	CHECK_EQ(c.nr_nics, 2);
}

TEST(config, serial_ports)
{
	struct vm_serial s;
	struct err e;

	CHECK_EQ(vm_parse_serial("--serial", "file:/tmp/x", &s, &e), 0);
	CHECK_EQ(s.kind, VM_SERIAL_FILE);
	CHECK_STR(s.path, "/tmp/x");
	CHECK_EQ(vm_parse_serial("--serial", "pty", &s, &e), 0);
	CHECK_EQ(s.kind, VM_SERIAL_PTY);
	CHECK_EQ(vm_parse_serial("--serial", "file:", &s, &e), -1);
	CHECK_EQ(vm_parse_serial("--serial", "stdout", &s, &e), -1);
}

/* A configuration whose kernel exists: this program. */
static struct vm_config with_kernel(void)
{
	struct vm_config c;

	vm_config_init(&c);
	c.kernel = "/proc/self/exe";
	return c;
}

TEST(config, kernel_must_be_there)
{
	struct vm_config c = with_kernel();
	struct err e;

	CHECK_EQ(vm_config_check(&c, &e), 0);
	c.kernel = NULL;
	CHECK_EQ(vm_config_check(&c, &e), -1);
	c.kernel = "/";
	CHECK_EQ(vm_config_check(&c, &e), -1);
	CHECK_STR(e.text, "kernel / is a directory");
	c.kernel = "/no/such/file";
	CHECK_EQ(vm_config_check(&c, &e), -1);
	CHECK_STR(e.text, "cannot open kernel /no/such/file: No such file or directory");
}

TEST(config, one_file_is_not_two_disks)
{
	char path[] = "/tmp/nestor-config-test-XXXXXX", other[64];
	struct vm_config c = with_kernel();
	struct err e;
	int fd = mkstemp(path);

	CHECK(fd >= 0);
	strcpy(other, path);
	strcat(other, ".link");
	CHECK_EQ(link(path, other), 0);
	c.nr_disks = 2;
	c.disks[0] = (struct vm_disk){ path, true };
	c.disks[1] = (struct vm_disk){ other, false };
	CHECK_EQ(vm_config_check(&c, &e), -1);
	c.disks[1].readonly = true;
	CHECK_EQ(vm_config_check(&c, &e), 0);
	unlink(path);
	unlink(other);
	close(fd);
}

TEST(config, one_serial_port_has_stdio)
{
	struct vm_config c = with_kernel();
	struct err e;

	c.nr_serials = 2;
	c.serials[0].kind = c.serials[1].kind = VM_SERIAL_STDIO;
	CHECK_EQ(vm_config_check(&c, &e), -1);
	c.serials[1].kind = VM_SERIAL_NONE;
	CHECK_EQ(vm_config_check(&c, &e), 0);
}
