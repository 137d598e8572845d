// SPDX-License-Identifier: MIT
/*
 * Option values into struct vm_config, and the checks that need no VM. Every
 * refusal is one sentence that names the option and the offending value.
 */
#include "vm/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "cpu/trace.h"
#include "net/hostfwd.h"

void vm_config_init(struct vm_config *c)
{
	*c = (struct vm_config){
		.nr_cpus = 1,
		.memory = MIB(512),
	};
}

/* ---- Numbers ---- */

/* Digits only: no sign, no blanks, no base prefix. Returns what follows. */
static const char *parse_number(const char *s, u64 *res)
{
	u64 v = 0;

	if (*s < '0' || *s > '9')
		return NULL;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *s - '0', &v))
			return NULL;
	*res = v;
	return s;
}

static const char units[] = "KMGT";

int vm_parse_memory(const char *s, u64 *res, struct err *e)
{
	u64 v;
	const char *rest = parse_number(s, &v);
	u64 unit = MIB(1); /* of a bare number */

	if (rest && *rest) {
		const char *u = strchr(units, *rest & ~0x20);
		unit = u ? 1ull << (10 * (u - units + 1)) : 0;
		rest++;
		if (*rest == 'i')
			rest++;
		if (*rest == 'B')
			rest++;
	}
	if (!rest || *rest || !unit || __builtin_mul_overflow(v, unit, &v))
		return err_set(e, "--memory %s is not a size such as 512M or 2G", s);
	if (v < VM_MIN_MEMORY)
		return err_set(e, "--memory %s is too little: a VM needs at least %lluM", s,
			       (unsigned long long)(VM_MIN_MEMORY >> 20));
	if (v > MIB(1) << 26)
		return err_set(e, "--memory %s is more than a VM can have", s);
	*res = ALIGN_UP(v, (u64)PAGE_SIZE);
	return 0;
}

int vm_parse_cpus(const char *s, unsigned *res, struct err *e)
{
	u64 v;
	const char *rest = parse_number(s, &v);

	if (!rest || *rest || v < 1 || v > VM_MAX_CPUS)
		return err_set(e, "--cpus %s is not a number from 1 to %d", s, VM_MAX_CPUS);
	*res = (unsigned)v;
	return 0;
}

int vm_parse_compare(const char *s, unsigned *res, struct err *e)
{
	u64 v;
	const char *rest = parse_number(s, &v);

	if (!rest || *rest || v < 1 || v > 1000000)
		return err_set(e, "--compare %s is not a number from 1 to 1000000", s);
	*res = (unsigned)v;
	return 0;
}

int vm_parse_seconds(const char *option, const char *s, u64 *ns, struct err *e)
{
	char *end;
	double v = strtod(s, &end);

	if (end == s || *end || !(v > 0) || v > 1e9)
		return err_set(e, "%s %s is not a number of seconds", option, s);
	*ns = MAX((u64)(v * (double)NSEC_PER_SEC), 1u); /* 0 means none */
	return 0;
}

/* ---- Words ---- */

int vm_parse_engine(const char *s, enum vm_engine *res, struct err *e)
{
	static const char *const names[] = { "auto", "soft", "kvm" };

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(s, names[i])) {
			*res = (enum vm_engine)i;
			return 0;
		}
	return err_set(e, "--engine %s is none of auto, soft and kvm", s);
}

int vm_parse_disk(char *s, struct vm_disk *res, struct err *e)
{
	static const char suffix[] = ",readonly";
	size_t len = strlen(s), n = sizeof(suffix) - 1;

	*res = (struct vm_disk){ .path = s };
	if (len >= n && !strcmp(s + len - n, suffix)) {
		s[len - n] = 0;
		res->readonly = true;
	}
	return *s ? 0 : err_set(e, "--disk needs the name of a file");
}

int vm_parse_serial(const char *option, const char *s, struct vm_serial *res, struct err *e)
{
	*res = (struct vm_serial){ .kind = VM_SERIAL_NONE };
	if (!strcmp(s, "none"))
		return 0;
	if (!strcmp(s, "stdio"))
		res->kind = VM_SERIAL_STDIO;
	else if (!strcmp(s, "pty"))
		res->kind = VM_SERIAL_PTY;
	else if (!strncmp(s, "file:", 5) && s[5])
		*res = (struct vm_serial){ .kind = VM_SERIAL_FILE, .path = s + 5 };
	else
		return err_set(e, "%s %s is none of stdio, none, file:FILE and pty", option, s);
	return 0;
}

/* ---- Network ---- */

/* One `hostfwd=...`, which ends here. */
static int parse_nic_option(char *s, struct vm_nic *nic, struct err *e)
{
	struct hostfwd ignored;

	if (strncmp(s, "hostfwd=", 8))
		return err_set(e, "--nic user,%s: the only option of user is "
			       "hostfwd=tcp:HOST:PORT-:GUESTPORT", s);
	if (nic->nr_forwards == VM_MAX_FORWARDS)
		return err_set(e, "--nic user: there can be at most %d hostfwd", VM_MAX_FORWARDS);
	if (hostfwd_parse(s + 8, &ignored, e))
		return -1;
	nic->forwards[nic->nr_forwards++] = s + 8;
	return 0;
}

int vm_parse_nic(char *s, struct vm_config *c, struct err *e)
{
	char *rest = s;
	const char *kind = strsep(&rest, ",");
	struct vm_nic *nic = &c->nics[c->nr_nics];

	if (!strcmp(kind, "none") && !rest)
		return 0;
	if (strcmp(kind, "user"))
		return err_set(e, "--nic %s is neither none nor user[,hostfwd=...]", kind);
	if (c->nr_nics == VM_MAX_NICS)
		return err_set(e, "--nic can be given at most %d times", VM_MAX_NICS);
	*nic = (struct vm_nic){ 0 };
	while (rest)
		if (parse_nic_option(strsep(&rest, ","), nic, e))
			return -1;
	c->nr_nics++;
	return 0;
}

/* ---- The whole ---- */

/* One file, two disks of the VM: only if nobody writes. */
static int check_disk_pair(const struct vm_disk *a, const struct vm_disk *b, struct err *e)
{
	struct stat sa, sb;

	if (a->readonly && b->readonly)
		return 0;
	if (stat(a->path, &sa) || stat(b->path, &sb))
		return 0; /* opening it says why */
	if (sa.st_dev != sb.st_dev || sa.st_ino != sb.st_ino)
		return 0;
	return err_set(e, "disk %s is given twice, and not both times readonly", b->path);
}

static int check_disks(const struct vm_config *c, struct err *e)
{
	for (unsigned i = 0; i < c->nr_disks; i++)
		for (unsigned j = 0; j < i; j++)
			if (check_disk_pair(&c->disks[j], &c->disks[i], e))
				return -1;
	return 0;
}

static int check_serials(const struct vm_config *c, struct err *e)
{
	unsigned nr_stdio = c->console.kind == VM_SERIAL_STDIO;

	for (unsigned i = 0; i < c->nr_serials; i++)
		nr_stdio += c->serials[i].kind == VM_SERIAL_STDIO;
	return nr_stdio > 1 ? err_set(e, "only one serial port or console can be on stdio") : 0;
}

/* ---- Files that are written ---- */

/* A serial port's file must not be one that the VM reads, nor another port's. */
static int check_output(const char *path, const char *other, const char *what, struct err *e)
{
	struct stat a, b;
	bool same = other && !strcmp(path, other);

	if (other && !stat(path, &a) && !stat(other, &b))
		same = a.st_dev == b.st_dev && a.st_ino == b.st_ino && S_ISREG(a.st_mode);
	return same ? err_set(e, "cannot write serial file %s: it is %s, too", path, what) : 0;
}

static int check_against_inputs(const struct vm_config *c, const char *path, struct err *e)
{
	if (check_output(path, c->kernel, "the kernel", e))
		return -1;
	for (unsigned i = 0; i < c->nr_initrds; i++)
		if (check_output(path, c->initrds[i], "an initrd", e))
			return -1;
	for (unsigned i = 0; i < c->nr_disks; i++)
		if (check_output(path, c->disks[i].path, "a disk", e))
			return -1;
	return 0;
}

static int check_outputs(const struct vm_config *c, struct err *e)
{
	const char *path[VM_MAX_SERIALS + 1];
	unsigned nr = 0;

	for (unsigned i = 0; i < c->nr_serials; i++)
		if (c->serials[i].kind == VM_SERIAL_FILE)
			path[nr++] = c->serials[i].path;
	if (c->console.kind == VM_SERIAL_FILE)
		path[nr++] = c->console.path;
	for (unsigned i = 0; i < nr; i++) {
		if (check_against_inputs(c, path[i], e))
			return -1;
		for (unsigned j = 0; j < i; j++)
			if (check_output(path[i], path[j], "another port's", e))
				return -1;
	}
	return 0;
}

static int check_file(const char *what, const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st))
		return err_set(e, "cannot open %s %s: %s", what, path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return err_set(e, "%s %s is a directory", what, path);
	return 0;
}

int vm_config_check(const struct vm_config *c, struct err *e)
{
	struct trace_list ignored;

	if (!c->kernel)
		return err_set(e, "there is nothing to boot: --kernel FILE is missing");
	if (check_file("kernel", c->kernel, e))
		return -1;
	if (c->compare && c->nr_cpus > 1)
		return err_set(e, "--compare needs a VM of one vCPU");
	if (check_serials(c, e) || check_outputs(c, e) || trace_parse(c->trace, &ignored, e))
		return -1;
	return check_disks(c, e);
}
