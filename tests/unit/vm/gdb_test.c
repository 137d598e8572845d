// SPDX-License-Identifier: MIT
/*
 * The gdb stub, spoken to as gdb does: a child runs the VM, this side is the
 * debugger.
 */
#include "vm/gdb.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../lib/test.h"
#include "../../lib/tinykernel.h"
#include "vm/vm.h"

/* 100: inc ebx; inc dword [TINY_DATA]; inc ecx; jmp 100b */
static const u8 code[] = { 0x43, 0xff, 0x05, 0x00, 0x10, 0x10, 0x00, 0x41, 0xeb, 0xf6 };
enum { INC_MEM = TINY_CODE + 1, INC_ECX = TINY_CODE + 7 };

static int sock = -1;
static pid_t child;
static char reply[65536];

static void run_vm(const char *address, unsigned nr_cpus)
{
	struct vm_config c;
	struct vm *vm;
	struct err e;

	if (!freopen("/dev/null", "w", stderr))
		_exit(1);
	vm_config_init(&c);
	c.kernel = tiny_kernel(code, sizeof(code));
	c.memory = MIB(8);
	c.nr_cpus = nr_cpus;
	c.gdb = address;
	c.timeout_ns = 8ull * 1000000000;
	if (vm_create(&c, &soft_engine, &vm, &e))
		_exit(1);
	int reason = (int)vm_run(vm).reason;
	vm_destroy(vm);
	exit(reason);
}

static void connect_to(unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((u16)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	for (int i = 0; i < 300; i++) {
		sock = socket(AF_INET, SOCK_STREAM, 0);
		if (!connect(sock, (struct sockaddr *)&a, sizeof(a)))
			return;
		close(sock);
		usleep(10000);
	}
	CHECK(!"connected");
}

static void start(unsigned nr_cpus)
{
	static char address[32];
	unsigned port = 20000 + (unsigned)getpid() % 20000;

	snprintf(address, sizeof(address), "%u", port);
	child = fork();
	if (!child)
		run_vm(address, nr_cpus);
	connect_to(port);
}

static void send_packet(const char *text)
{
	char packet[512];
	u8 sum = 0;

	for (const char *p = text; *p; p++)
		sum = (u8)(sum + (u8)*p);
	int n = snprintf(packet, sizeof(packet), "$%s#%02x", text, sum);
	CHECK_EQ(send(sock, packet, (size_t)n, 0), n);
}

static char get(void)
{
	char c = 0;

	CHECK_EQ(recv(sock, &c, 1, 0), 1);
	return c;
}

static const char *wait_reply(void)
{
	size_t n = 0;
	char c;

	while (get() != '$')
		;
	while ((c = get()) != '#' && n < sizeof(reply) - 1)
		reply[n++] = c;
	reply[n] = 0;
	get();
	get();
	CHECK_EQ(send(sock, "+", 1, 0), 1);
	return reply;
}

static const char *ask(const char *text)
{
	send_packet(text);
	return wait_reply();
}

/* A little-endian number in hexadecimal bytes. */
static u64 number(const char *hex)
{
	u64 v = 0;

	for (unsigned i = 0; hex[2 * i] && i < 8; i++) {
		unsigned byte = 0;
		sscanf(hex + 2 * i, "%2x", &byte);
		v |= (u64)byte << (8 * i);
	}
	return v;
}

enum { N_RBX = 1, N_RCX = 2, N_RIP = 16, N_CR0 = 60 };

static u64 reg(unsigned n)
{
	char text[16];

	snprintf(text, sizeof(text), "p%x", n);
	return number(ask(text));
}

static int finish(void)
{
	int status = 0;

	close(sock);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(gdb, breakpoints_steps_and_memory)
{
	char text[64];

	start(1);
	CHECK(!strncmp(ask("?"), "T05", 3));
	CHECK_EQ(reg(N_RIP), TINY_CODE);
	CHECK_EQ(reg(N_CR0) & 1, 1);
	snprintf(text, sizeof(text), "Z0,%x,1", INC_ECX);
	CHECK_STR(ask(text), "OK");
	for (u64 i = 1; i <= 3; i++) {
		CHECK(!strncmp(ask("c"), "T05", 3));
		CHECK_EQ(reg(N_RIP), INC_ECX);
		CHECK_EQ(number(ask("m101000,4")), i);
		/* over it, as gdb does */
		snprintf(text, sizeof(text), "z0,%x,1", INC_ECX);
		CHECK_STR(ask(text), "OK");
		u64 rcx = reg(N_RCX);
		CHECK(!strncmp(ask("s"), "T05", 3));
		CHECK_EQ(reg(N_RIP), INC_ECX + 1);
		CHECK_EQ((u32)reg(N_RCX), (u32)(rcx + 1));
		snprintf(text, sizeof(text), "Z0,%x,1", INC_ECX);
		CHECK_STR(ask(text), "OK");
	}
	CHECK_STR(ask("P1=7856341200000000"), "OK");
	CHECK_EQ(reg(N_RBX), 0x12345678);
	CHECK_STR(ask("M101000,4:2a000000"), "OK");
	CHECK_EQ(number(ask("m101000,4")), 42);
	snprintf(text, sizeof(text), "z0,%x,1", INC_ECX);
	CHECK_STR(ask(text), "OK");
	send_packet("k");
	CHECK_EQ(finish(), VM_END_STOPPED);
}

TEST(gdb, new_code_is_what_runs)
{
	start(1);
	CHECK_STR(ask("M100100,2:ebfe"), "OK"); /* jmp $ */
	send_packet("c");
	usleep(50000);
	CHECK_EQ(send(sock, "\3", 1, 0), 1);
	CHECK(!strncmp(wait_reply(), "T02", 3));
	CHECK_EQ(reg(N_RIP), TINY_CODE);
	CHECK_EQ(number(ask("m101000,4")), 0);
	send_packet("k");
	CHECK_EQ(finish(), VM_END_STOPPED);
}

TEST(gdb, threads_and_description)
{
	start(3);
	CHECK(strstr(ask("qSupported:xmlRegisters=i386"), "qXfer:features:read+"));
	CHECK_STR(ask("qfThreadInfo"), "m1,2,3");
	CHECK_STR(ask("qsThreadInfo"), "l");
	CHECK_STR(ask("Hg2"), "OK");
	CHECK_STR(ask("qC"), "QC2");
	CHECK_STR(ask("Hg4"), "E22");
	CHECK_STR(ask("T3"), "OK");
	CHECK(strlen(ask("qThreadExtraInfo,3")) > 10);
	CHECK_EQ(ask("qXfer:features:read:target.xml:0,100")[0], 'm');
	CHECK_EQ(strlen(reply), 0x101);
	CHECK_STR(ask("qXfer:features:read:target.xml:fffff,100"), "l");
	send_packet("k");
	finish();
}

TEST(gdb, nonsense_is_refused)
{
	static const char *const bad[] = {
		"p9999", "P1=12", "Pff=00", "m,", "mffffffffffffffff,10", "M101000,4:zz", "M101000,ffff:00",
		"Hgffff", "T0", "qThreadExtraInfo,99", "G00",
	};
	static char large[400];

	start(1);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(ask(bad[i])[0], 'E');
	CHECK_STR(ask("nothing_we_know"), "");
	memset(large, 'm', sizeof(large) - 1);
	CHECK_EQ(ask(large)[0], 'E');
	CHECK_EQ(send(sock, "$m0,4#00", 8, 0), 8); /* wrong checksum */
	char c;
	while ((c = get()) == '+')
		;
	CHECK_EQ(c, '-');
	CHECK_EQ(reg(N_RIP), TINY_CODE);
	send_packet("k");
	finish();
}

/* Without a debugger the VM runs on, and another one may come. */
TEST(gdb, debuggers_come_and_go)
{
	unsigned port = 20000 + (unsigned)getpid() % 20000;
	u64 count = 0;

	start(1);
	CHECK_STR(ask("Z0,100107,1"), "OK");
	/* A busy machine may give the guest little time between two visits. */
	for (unsigned n = 0; n < 100 && count <= 10; n++) {
		close(sock);
		usleep(100000);
		connect_to(port);
		CHECK(!strncmp(ask("?"), "T05", 3));
		count = number(ask("m101000,4"));
	}
	CHECK(count > 10);
	CHECK_STR(ask("D"), "OK");
	close(sock);
	usleep(20000);
	connect_to(port);
	CHECK(!strncmp(ask("?"), "T05", 3));
	send_packet("k");
	CHECK_EQ(finish(), VM_END_STOPPED);
}
