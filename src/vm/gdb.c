// SPDX-License-Identifier: MIT
/*
 * The gdb remote serial protocol ("Remote Protocol" of gdb's manual) over TCP.
 *
 * Theory of operation
 *
 * Bytes arrive on the loop and are taken apart into packets; each packet is one
 * row of `commands`, found by its prefix, whose function leaves the answer in
 * g->out. While `stopped`, the stub holds a vm_pause() and answers; a
 * continue or step gives it up, and a vCPU's VCPU_STOP_DEBUG, Ctrl-C, or a new
 * connection takes it again. A step runs one vCPU alone, the others held.
 */
#include "vm/gdb.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cpu/dump.h"
#include "vm/gdb_regs.h"
#include "vm/vm_internal.h"

enum { PACKET_MAX = 8192, XML_MAX = 16384 };

struct gdb {
	struct vm *vm;
	int listen_fd, fd; /* fd: the debugger, -1 = none */
	bool stopped;	   /* we hold a vm_pause() */
	bool no_ack;
	unsigned cpu; /* what g, m, p, ... are about */
	struct engine_debug debug;
	struct cpu_state *state; /* scratch */

	/* Input: between $ and #, then two digits of checksum. */
	enum { IDLE, BODY, SUM1, SUM2 } rx;
	char in[PACKET_MAX + 1];
	size_t in_len;
	bool in_bad; /* too long */
	u8 sum, sum_wanted;

	char out[2 * PACKET_MAX + 16]; /* answer, as text */
	size_t out_len;

	/* From vCPU threads, under vm->lock. */
	int stopped_cpu; /* -1 = none */
	struct loop_work stopped_work;
};

/* ---- Hexadecimal, answers ---- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static u64 get_hex(const char **s)
{
	u64 v = 0;

	for (; digit(**s) >= 0; (*s)++)
		v = v << 4 | (u64)digit(**s);
	return v;
}

/* Exactly 2 * @size digits. */
static bool get_bytes(const char *s, u8 *to, size_t size)
{
	for (size_t i = 0; i < size; i++, s += 2) {
		int hi = digit(s[0]), lo = hi < 0 ? -1 : digit(s[1]);

		if (lo < 0)
			return false;
		to[i] = (u8)(hi << 4 | lo);
	}
	return true;
}

static void PRINTF(2, 3) answer(struct gdb *g, const char *fmt, ...)
{
	size_t room = sizeof(g->out) - g->out_len;
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(g->out + g->out_len, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		g->out_len += MIN((size_t)n, room - 1);
}

static void answer_bytes(struct gdb *g, const void *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		answer(g, "%02x", ((const u8 *)data)[i]);
}

static void send_all(struct gdb *g, const char *data, size_t size)
{
	while (size && g->fd >= 0) {
		ssize_t n = send(g->fd, data, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* the next read says that it is gone */
		data += n;
		size -= (size_t)n;
	}
}

static void send_packet(struct gdb *g)
{
	char tail[4];
	u8 sum = 0;

	for (size_t i = 0; i < g->out_len; i++)
		sum = (u8)(sum + (u8)g->out[i]);
	snprintf(tail, sizeof(tail), "#%02x", sum);
	send_all(g, "$", 1);
	send_all(g, g->out, g->out_len);
	send_all(g, tail, 3);
}

/* ---- Stopping and going on ---- */

static void tell_stop(struct gdb *g, unsigned sig)
{
	g->out_len = 0;
	answer(g, "T%02xthread:%x;", sig, g->cpu + 1);
	send_packet(g);
}

static void stop(struct gdb *g)
{
	if (g->stopped)
		return;
	vm_pause(g->vm);
	g->stopped = true;
}

/* All vCPUs, or @only one of them (-1 = all). */
static void go_on(struct gdb *g, int only)
{
	struct vm *vm = g->vm;

	if (!g->stopped)
		return;
	pthread_mutex_lock(&vm->lock);
	for (unsigned i = 0; i < vm->config.nr_cpus; i++)
		vm->cpus[i].held = only >= 0 && (int)i != only;
	g->stopped_cpu = -1;
	pthread_mutex_unlock(&vm->lock);
	g->stopped = false;
	vm_resume(vm);
}

static int set_debug(struct gdb *g, bool step)
{
	int r = 0;

	g->debug.single_step = step;
	for (unsigned i = 0; i < g->vm->config.nr_cpus && !r; i++)
		r = g->vm->ops->set_debug ? g->vm->ops->set_debug(g->vm->cpus[i].engine, &g->debug)
					  : -ENOSYS;
	return r;
}

static void stopped_work(void *arg)
{
	struct gdb *g = arg;

	pthread_mutex_lock(&g->vm->lock);
	int cpu = g->stopped_cpu;
	pthread_mutex_unlock(&g->vm->lock);
	if (cpu < 0 || g->stopped)
		return;
	stop(g);
	g->cpu = (unsigned)cpu;
	if (g->fd >= 0)
		tell_stop(g, 5);
	else
		go_on(g, -1);
}

void gdb_cpu_stopped(struct gdb *g, unsigned index)
{
	pthread_mutex_lock(&g->vm->lock);
	if (g->stopped_cpu < 0)
		g->stopped_cpu = (int)index;
	pthread_mutex_unlock(&g->vm->lock);
	loop_post(g->vm->loop, &g->stopped_work);
}

/* ---- Commands. What follows the prefix is in @s. False: no answer is sent. ---- */

typedef bool command_fn(struct gdb *g, const char *s);

static struct engine_vcpu *vcpu(struct gdb *g)
{
	return g->vm->cpus[g->cpu].engine;
}

static bool load_state(struct gdb *g)
{
	if (!g->vm->ops->get_state(vcpu(g), g->state))
		return true;
	answer(g, "E01");
	return false;
}

static void store_state(struct gdb *g)
{
	answer(g, g->vm->ops->set_state(vcpu(g), g->state) ? "E01" : "OK");
}

static bool cmd_why(struct gdb *g, const char *s)
{
	(void)s;
	answer(g, "T05thread:%x;", g->cpu + 1);
	return true;
}

static bool cmd_get_regs(struct gdb *g, const char *s)
{
	u8 value[GDB_REG_MAX_SIZE];

	(void)s;
	if (!load_state(g))
		return true;
	for (unsigned i = 0; i < gdb_nr_core_regs(); i++) {
		gdb_reg_get(g->state, i, value);
		answer_bytes(g, value, gdb_reg_size(i));
	}
	return true;
}

static bool cmd_set_regs(struct gdb *g, const char *s)
{
	u8 value[GDB_REG_MAX_SIZE];

	if (!load_state(g))
		return true;
	for (unsigned i = 0; i < gdb_nr_core_regs() && *s; i++) {
		if (!get_bytes(s, value, gdb_reg_size(i))) {
			answer(g, "E22");
			return true;
		}
		gdb_reg_set(g->state, i, value);
		s += 2 * gdb_reg_size(i);
	}
	store_state(g);
	return true;
}

static bool cmd_get_reg(struct gdb *g, const char *s)
{
	u8 value[GDB_REG_MAX_SIZE];
	u64 n = get_hex(&s);

	if (n >= gdb_nr_regs()) {
		answer(g, "E22");
	} else if (load_state(g)) {
		gdb_reg_get(g->state, (unsigned)n, value);
		answer_bytes(g, value, gdb_reg_size((unsigned)n));
	}
	return true;
}

static bool cmd_set_reg(struct gdb *g, const char *s)
{
	u8 value[GDB_REG_MAX_SIZE];
	u64 n = get_hex(&s);

	if (n >= gdb_nr_regs() || *s != '=' ||
	    !get_bytes(s + 1, value, gdb_reg_size((unsigned)n))) {
		answer(g, "E22");
	} else if (load_state(g)) {
		if (gdb_reg_set(g->state, (unsigned)n, value))
			store_state(g);
		else
			answer(g, "E22");
	}
	return true;
}

/* Gives what is readable of the range's start. */
static bool cmd_get_memory(struct gdb *g, const char *s)
{
	u64 addr = get_hex(&s);
	u64 size = *s == ',' ? (s++, get_hex(&s)) : 0;
	u8 buf[PACKET_MAX / 2];
	u64 done = 0;

	size = MIN(size, (u64)sizeof(buf));
	while (done < size) {
		u64 n = MIN(size - done, PAGE_SIZE - (addr + done) % PAGE_SIZE);
		if (!g->vm->ops->peek(vcpu(g), addr + done, buf + done, (unsigned)n))
			break;
		done += n;
	}
	if (done)
		answer_bytes(g, buf, done);
	else
		answer(g, "E14");
	return true;
}

static bool cmd_set_memory(struct gdb *g, const char *s)
{
	u64 addr = get_hex(&s);
	u64 size = *s == ',' ? (s++, get_hex(&s)) : 0;
	u8 buf[PACKET_MAX / 2];

	if (*s != ':' || size > sizeof(buf) || strlen(s + 1) < 2 * size ||
	    !get_bytes(s + 1, buf, size))
		answer(g, "E22");
	else
		answer(g, g->vm->ops->poke(vcpu(g), addr, buf, (unsigned)size) ? "OK" : "E14");
	return true;
}

static void continue_all(struct gdb *g)
{
	set_debug(g, false);
	go_on(g, -1);
}

static bool cmd_continue(struct gdb *g, const char *s)
{
	(void)s;
	continue_all(g);
	return false;
}

static bool cmd_step(struct gdb *g, const char *s)
{
	(void)s;
	if (set_debug(g, true)) {
		answer(g, "E01");
		return true;
	}
	go_on(g, (int)g->cpu);
	return false;
}

/* vCont;s:1;c and the like: a step of one thread, or a continue of all. */
static bool cmd_vcont(struct gdb *g, const char *s)
{
	const char *step = strstr(s, ";s");

	if (!step)
		step = strstr(s, ";S");
	if (!step)
		return cmd_continue(g, s);
	const char *colon = step + strcspn(step + 1, ":;") + 1;
	if (*colon == ':') {
		colon++;
		u64 thread = get_hex(&colon);
		if (thread && thread <= g->vm->config.nr_cpus)
			g->cpu = (unsigned)thread - 1;
	}
	return cmd_step(g, s);
}

static bool cmd_vcont_query(struct gdb *g, const char *s)
{
	(void)s;
	answer(g, "vCont;c;C;s;S");
	return true;
}

static bool cmd_set_thread(struct gdb *g, const char *s)
{
	bool general = *s++ == 'g';
	bool any = *s == '-' || !strcmp(s, "0");
	u64 thread = any ? g->cpu + 1 : get_hex(&s);

	if (!thread || thread > g->vm->config.nr_cpus) {
		answer(g, "E22");
		return true;
	}
	if (general || !any)
		g->cpu = (unsigned)thread - 1;
	answer(g, "OK");
	return true;
}

static bool cmd_thread_alive(struct gdb *g, const char *s)
{
	u64 thread = get_hex(&s);

	answer(g, thread && thread <= g->vm->config.nr_cpus ? "OK" : "E22");
	return true;
}

static bool cmd_current_thread(struct gdb *g, const char *s)
{
	(void)s;
	answer(g, "QC%x", g->cpu + 1);
	return true;
}

static bool cmd_first_threads(struct gdb *g, const char *s)
{
	(void)s;
	for (unsigned i = 0; i < g->vm->config.nr_cpus; i++)
		answer(g, "%c%x", i ? ',' : 'm', i + 1);
	return true;
}

static bool cmd_more_threads(struct gdb *g, const char *s)
{
	(void)s;
	answer(g, "l");
	return true;
}

static bool cmd_thread_info(struct gdb *g, const char *s)
{
	static const char *const activity[] = { "active", "halted", "shut down", "waiting for SIPI" };
	u64 thread = get_hex(&s);
	char text[64];

	if (!thread || thread > g->vm->config.nr_cpus ||
	    g->vm->ops->get_state(g->vm->cpus[thread - 1].engine, g->state)) {
		answer(g, "E22");
		return true;
	}
	int n = snprintf(text, sizeof(text), "vCPU %u, %s", (unsigned)thread - 1,
			 activity[g->state->activity]);
	answer_bytes(g, text, (size_t)n);
	return true;
}

/* Z0,addr,kind and Z1: the engine's breakpoints serve both. */
static bool cmd_insert(struct gdb *g, const char *s)
{
	struct engine_debug before = g->debug;
	u64 addr = get_hex(&s);

	for (unsigned i = 0; i < g->debug.nr_breakpoints; i++)
		if (g->debug.breakpoint[i] == addr) {
			answer(g, "OK");
			return true;
		}
	if (g->debug.nr_breakpoints == ENGINE_MAX_BREAKPOINTS) {
		answer(g, "E28");
		return true;
	}
	g->debug.breakpoint[g->debug.nr_breakpoints++] = addr;
	if (!set_debug(g, false)) {
		answer(g, "OK");
		return true;
	}
	g->debug = before;
	set_debug(g, false);
	answer(g, "E28");
	return true;
}

static bool cmd_remove(struct gdb *g, const char *s)
{
	struct engine_debug *d = &g->debug;
	u64 addr = get_hex(&s);

	for (unsigned i = 0; i < d->nr_breakpoints; i++)
		if (d->breakpoint[i] == addr) {
			d->breakpoint[i] = d->breakpoint[--d->nr_breakpoints];
			set_debug(g, false);
			break;
		}
	answer(g, "OK");
	return true;
}

static bool cmd_supported(struct gdb *g, const char *s)
{
	(void)s;
	answer(g, "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+", PACKET_MAX);
	return true;
}

static bool cmd_no_ack(struct gdb *g, const char *s)
{
	(void)s;
	answer(g, "OK");
	g->no_ack = true;
	return true;
}

/* OFFSET,LENGTH of target.xml; none of its bytes needs an escape. */
static bool cmd_target_xml(struct gdb *g, const char *s)
{
	u64 off = get_hex(&s);
	u64 len = *s == ',' ? (s++, get_hex(&s)) : 0;
	char *xml = malloc(XML_MAX);
	int n = xml ? gdb_target_xml(xml, XML_MAX) : 0;
	u64 size = n > 0 && n < XML_MAX ? (u64)n : 0;

	off = MIN(off, size);
	len = MIN(MIN(len, size - off), (u64)PACKET_MAX - 16);
	answer(g, "%c%.*s", off + len < size ? 'm' : 'l', (int)len, xml ? xml + off : "");
	free(xml);
	return true;
}

static bool cmd_attached(struct gdb *g, const char *s)
{
	(void)s;
	answer(g, "1");
	return true;
}

/* "monitor anything": the current vCPU's registers. */
static bool cmd_monitor(struct gdb *g, const char *s)
{
	char text[3072];

	(void)s;
	if (load_state(g)) {
		int n = cpu_format(g->state, g->cpu, text, sizeof(text));
		answer_bytes(g, text, MIN((size_t)n, sizeof(text) - 1));
	}
	return true;
}

static bool cmd_detach(struct gdb *g, const char *s)
{
	(void)s;
	answer(g, "OK");
	send_packet(g);
	g->debug.nr_breakpoints = 0;
	continue_all(g);
	return false;
}

static bool cmd_kill(struct gdb *g, const char *s)
{
	(void)s;
	vm_stop(g->vm, 0);
	return false;
}

/* Longer prefixes before the shorter ones that they begin with. */
static const struct {
	const char *prefix;
	command_fn *fn;
} commands[] = {
	{ "?", cmd_why },
	{ "g", cmd_get_regs }, { "G", cmd_set_regs },
	{ "p", cmd_get_reg }, { "P", cmd_set_reg },
	{ "m", cmd_get_memory }, { "M", cmd_set_memory },
	{ "c", cmd_continue }, { "C", cmd_continue },
	{ "s", cmd_step }, { "S", cmd_step },
	{ "vCont?", cmd_vcont_query }, { "vCont", cmd_vcont }, { "vKill", cmd_kill },
	{ "Z0,", cmd_insert }, { "Z1,", cmd_insert },
	{ "z0,", cmd_remove }, { "z1,", cmd_remove },
	{ "H", cmd_set_thread }, { "T", cmd_thread_alive },
	{ "qC", cmd_current_thread },
	{ "qfThreadInfo", cmd_first_threads }, { "qsThreadInfo", cmd_more_threads },
	{ "qThreadExtraInfo,", cmd_thread_info },
	{ "qSupported", cmd_supported }, { "QStartNoAckMode", cmd_no_ack },
	{ "qXfer:features:read:target.xml:", cmd_target_xml },
	{ "qAttached", cmd_attached }, { "qRcmd,", cmd_monitor },
	{ "D", cmd_detach }, { "k", cmd_kill },
};

static void run_command(struct gdb *g)
{
	bool send = true; /* what we do not know gets an empty answer */

	g->out_len = 0;
	g->out[0] = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		size_t n = strlen(commands[i].prefix);

		if (!strncmp(g->in, commands[i].prefix, n)) {
			send = commands[i].fn(g, g->in + n);
			break;
		}
	}
	if (send)
		send_packet(g);
}

/* ---- Bytes to packets ---- */

static void packet_ready(struct gdb *g)
{
	bool ok = !g->in_bad && g->sum == g->sum_wanted;

	g->in[g->in_len] = 0;
	if (!g->no_ack)
		send_all(g, ok ? "+" : "-", 1);
	/* While the VM runs only Ctrl-C is heard. */
	if (ok && g->stopped)
		run_command(g);
}

static void take_byte(struct gdb *g, char c)
{
	switch (g->rx) {
	case IDLE:
		if (c == '$') {
			g->rx = BODY;
			g->in_len = 0;
			g->sum = 0;
			g->in_bad = false;
		} else if (c == 3 && !g->stopped) {
			stop(g);
			tell_stop(g, 2);
		}
		return;
	case BODY:
		if (c == '#') {
			g->rx = SUM1;
			return;
		}
		g->sum = (u8)(g->sum + (u8)c);
		if (g->in_len < PACKET_MAX)
			g->in[g->in_len++] = c;
		else
			g->in_bad = true;
		return;
	case SUM1:
		g->sum_wanted = (u8)(digit(c) << 4);
		g->rx = SUM2;
		return;
	case SUM2:
		g->sum_wanted |= (u8)(digit(c) & 0xf);
		g->rx = IDLE;
		packet_ready(g);
		return;
	}
}

/* ---- Connections ---- */

static void disconnect(struct gdb *g)
{
	loop_del_fd(g->vm->loop, g->fd);
	close(g->fd);
	g->fd = -1;
	g->debug.nr_breakpoints = 0;
	stop(g); /* set_debug() wants the vCPUs at rest */
	continue_all(g);
}

static void readable(void *arg, u32 events)
{
	struct gdb *g = arg;
	char buf[4096];
	ssize_t n = recv(g->fd, buf, sizeof(buf), MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		disconnect(g);
		return;
	}
	for (ssize_t i = 0; i < n; i++)
		take_byte(g, buf[i]);
}

static void connected(void *arg, u32 events)
{
	struct gdb *g = arg;
	int fd = accept4(g->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	int one = 1;

	(void)events;
	if (fd < 0)
		return;
	if (g->fd >= 0 || loop_add_fd(g->vm->loop, fd, EPOLLIN, readable, g)) {
		close(fd); /* one debugger at a time */
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	g->fd = fd;
	g->rx = IDLE;
	g->no_ack = false;
	g->cpu = 0;
	stop(g);
}

static int listen_on(struct gdb *g, const struct addrinfo *a)
{
	int one = 1;

	g->listen_fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (g->listen_fd < 0)
		return -errno;
	setsockopt(g->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(g->listen_fd, a->ai_addr, a->ai_addrlen) || listen(g->listen_fd, 1))
		return -errno;
	return 0;
}

static int open_listener(struct gdb *g, const char *address, struct err *e)
{
	const char *colon = strrchr(address, ':');
	const char *port = colon ? colon + 1 : address;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	struct addrinfo *list;
	char host[128] = "127.0.0.1", *end;
	unsigned long number = strtoul(port, &end, 10);

	if (*port < '0' || *port > '9' || *end || number > 65535)
		return err_set(e, "--gdb %s is not an address: write [HOST:]PORT, with a port up to 65535",
			       address);
	if (colon && colon != address)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
	int r = getaddrinfo(host, port, &hints, &list);
	if (r)
		return err_set(e, "--gdb %s is not an address: %s", address, gai_strerror(r));
	r = listen_on(g, list);
	freeaddrinfo(list);
	if (r)
		return err_set(e, "cannot wait for a debugger on %s: %s", address, strerror(-r));
	return 0;
}

/* Port 0 is any: says which. */
static void announce(const struct gdb *g, const char *address)
{
	const char *colon = strrchr(address, ':');
	struct sockaddr_storage a;
	socklen_t size = sizeof(a);
	char port[NI_MAXSERV] = "?";

	if (!getsockname(g->listen_fd, (struct sockaddr *)&a, &size))
		getnameinfo((struct sockaddr *)&a, size, NULL, 0, port, sizeof(port), NI_NUMERICSERV);
	fprintf(stderr, "nestor: waiting for a debugger: target remote %.*s:%s\n",
		colon ? (int)(colon - address) : 0, address, port);
}

int gdb_create(struct vm *vm, const char *address, struct gdb **res, struct err *e)
{
	struct gdb *g = calloc(1, sizeof(*g));

	if (!g)
		return err_set(e, "not enough memory for a debugger's port");
	g->vm = vm;
	g->listen_fd = g->fd = g->stopped_cpu = -1;
	g->stopped_work = (struct loop_work){ .fn = stopped_work, .arg = g };
	g->state = aligned_alloc(64, ALIGN_UP(sizeof(*g->state), (size_t)64));
	if (!g->state || open_listener(g, address, e) ||
	    loop_add_fd(vm->loop, g->listen_fd, EPOLLIN, connected, g)) {
		if (!g->state)
			err_set(e, "not enough memory for a debugger's port");
		gdb_destroy(g);
		return -1;
	}
	stop(g);
	announce(g, address);
	*res = g;
	return 0;
}

void gdb_destroy(struct gdb *g)
{
	if (!g)
		return;
	if (g->fd >= 0) {
		g->out_len = 0;
		answer(g, "W00");
		send_packet(g);
		loop_del_fd(g->vm->loop, g->fd);
		close(g->fd);
	}
	if (g->listen_fd >= 0) {
		loop_del_fd(g->vm->loop, g->listen_fd);
		close(g->listen_fd);
	}
	free(g->state);
	free(g);
}
