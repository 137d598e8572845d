// SPDX-License-Identifier: MIT
/*
 * A VM's life on the software engine, with kernels of a few bytes: its ends,
 * pause and resume, reset, save and load.
 */
#include "vm/vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../lib/test.h"
#include "../../lib/tinykernel.h"
#include "base/clock.h"
#include "vm/snapshot.h"

static const char *kernel_path, *serial_path;

static void write_kernel(const void *code, size_t size)
{
	kernel_path = tiny_kernel(code, size);
	serial_path = tiny_file();
}

static struct vm_config config(void)
{
	struct vm_config c;

	vm_config_init(&c);
	c.kernel = kernel_path;
	c.memory = MIB(8);
	c.debug_exit = true;
	c.nr_serials = 1;
	c.serials[0] = (struct vm_serial){ .kind = VM_SERIAL_FILE, .path = serial_path };
	c.timeout_ns = 8 * NSEC_PER_SEC;
	return c;
}

static struct vm *make(const struct vm_config *c)
{
	struct vm *vm = NULL;
	struct err e = { "" };

	CHECK_EQ(vm_create(c, &soft_engine, &vm, &e), 0);
	CHECK_STR(e.text, "");
	return vm;
}

static struct vm_end run_code(const void *code, size_t size, struct vm_config *c)
{
	write_kernel(code, size);
	*c = config();
	struct vm *vm = make(c);
	struct vm_end end = vm_run(vm);

	vm_destroy(vm);
	return end;
}

/* ---- Ends ---- */

TEST(vm, debug_exit_gives_its_status)
{
	static const u8 code[] = { 0xb0, 21, 0xe6, 0xf4, 0xeb, 0xfe }; /* out 0xf4, 21 */
	struct vm_config c;
	struct vm_end end = run_code(code, sizeof(code), &c);

	CHECK_EQ(end.reason, VM_END_DEBUG_EXIT);
	CHECK_EQ(end.code, 43);
}

TEST(vm, triple_fault_names_the_vcpu)
{
	static const u8 code[] = { 0x0f, 0x01, 0x1d, 9, 1, 0x10, 0, /* lidt [zeroes] */
				   0x0f, 0x0b, 0, 0, 0, 0, 0, 0 };
	struct vm_config c;
	struct vm_end end = run_code(code, sizeof(code), &c);

	CHECK_EQ(end.reason, VM_END_TRIPLE_FAULT);
	CHECK_EQ(end.code, 0);
}

static const u8 spin[] = { 0xeb, 0xfe };
static const u8 halt[] = { 0xfa, 0xf4 };

TEST(vm, time_is_up_running_or_halted)
{
	struct vm_config c;

	write_kernel(spin, sizeof(spin));
	c = config();
	c.timeout_ns = NSEC_PER_SEC / 5;
	struct vm *vm = make(&c);
	CHECK_EQ(vm_run(vm).reason, VM_END_TIMEOUT);
	vm_destroy(vm);
	write_kernel(halt, sizeof(halt));
	c = config();
	c.timeout_ns = NSEC_PER_SEC / 5;
	vm = make(&c);
	CHECK_EQ(vm_run(vm).reason, VM_END_TIMEOUT);
	vm_destroy(vm);
}

TEST(vm, a_vm_that_never_ran_can_be_destroyed)
{
	write_kernel(spin, sizeof(spin));
	struct vm_config c = config();

	c.nr_cpus = 4;
	vm_destroy(make(&c));
}

TEST(vm, what_cannot_be_made_leaves_nothing)
{
	write_kernel("", 0);
	struct vm_config c = config();
	char fresh[] = "/tmp/nestor-vm-fresh-XXXXXX";
	struct vm *vm = NULL;
	struct err e = { "" };

	close(mkstemp(fresh));
	unlink(fresh);
	c.serials[0].path = fresh;
	c.nr_disks = 1;
	c.disks[0].path = "/no/such/disk";
	CHECK_EQ(vm_create(&c, &soft_engine, &vm, &e), -1);
	CHECK(strstr(e.text, "/no/such/disk"));
	CHECK(access(fresh, F_OK));
}

/* ---- Reset ---- */

/* out 0x3f8, 'R'; out 0x64, 0xfe; jmp $ */
static const u8 reset_code[] = { 0xba, 0xf8, 3, 0, 0, 0xb0, 'R', 0xee, 0xb0, 0xfe, 0xe6, 0x64,
				 0xeb, 0xfe };

static size_t serial_size(void)
{
	FILE *f = fopen(serial_path, "r");

	fseek(f, 0, SEEK_END);
	long n = ftell(f);
	fclose(f);
	return (size_t)n;
}

TEST(vm, reset_boots_again)
{
	write_kernel(reset_code, sizeof(reset_code));
	struct vm_config c = config();

	c.nr_cpus = 2;
	/* A busy machine may need longer for three boots. */
	for (c.timeout_ns = NSEC_PER_SEC; c.timeout_ns < 60 * NSEC_PER_SEC; c.timeout_ns *= 4) {
		struct vm *vm = make(&c);

		CHECK_EQ(vm_run(vm).reason, VM_END_TIMEOUT);
		vm_destroy(vm);
		if (serial_size() > 2)
			return;
	}
	CHECK(serial_size() > 2);
}

TEST(vm, reset_ends_when_asked_to)
{
	write_kernel(reset_code, sizeof(reset_code));
	struct vm_config c = config();

	c.no_reboot = true;
	struct vm *vm = make(&c);
	CHECK_EQ(vm_run(vm).reason, VM_END_RESET);
	vm_destroy(vm);
	CHECK_EQ(serial_size(), 1);
}

/* ---- Pause ---- */

/* 1: inc dword [0x101000]; jmp 1b */
static const u8 count_code[] = { 0xff, 0x05, 0x00, 0x10, 0x10, 0x00, 0xeb, 0xf8 };

static struct vm *paused_vm;
static unsigned nr_checks;
static struct timer again;

static u64 rip_and_count(u64 *count)
{
	static struct cpu_state s;

	CHECK_EQ(vm_get_cpu(paused_vm, 0, &s), 0);
	*count = s.rip;
	return s.rflags;
}

static void pause_check(void *arg)
{
	u64 a, b;

	(void)arg;
	vm_pause(paused_vm);
	vm_pause(paused_vm); /* they nest */
	rip_and_count(&a);
	vm_resume(paused_vm);
	usleep(2000);
	rip_and_count(&b);
	CHECK_EQ(a, b);
	vm_resume(paused_vm);
	if (++nr_checks == 50)
		vm_stop(paused_vm, 7);
	else
		timer_set(&again, clock_ns() + 1000000);
}

TEST(vm, pause_stops_and_resume_goes_on)
{
	write_kernel(count_code, sizeof(count_code));
	struct vm_config c = config();

	c.nr_cpus = 3; /* two wait for SIPI */
	paused_vm = make(&c);
	timer_init(&again, vm_loop(paused_vm), pause_check, NULL);
	timer_set(&again, clock_ns() + 1000000);
	struct vm_end end = vm_run(paused_vm);
	CHECK_EQ(end.reason, VM_END_STOPPED);
	CHECK_EQ(end.code, 7);
	CHECK_EQ(nr_checks, 50);
	vm_destroy(paused_vm);
}

/* Prints for ever; standard output is a pipe that nobody reads. */
static const u8 print_for_ever[] = { 0xba, 0xf8, 3, 0, 0, 0xee, 0x40, 0xeb, 0xfc };

TEST(vm, pause_does_not_wait_for_a_reader)
{
	int out = dup(1), p[2];

	write_kernel(print_for_ever, sizeof(print_for_ever));
	struct vm_config c = config();

	c.serials[0].kind = VM_SERIAL_STDIO;
	CHECK_EQ(pipe(p), 0);
	fflush(stdout);
	dup2(p[1], 1);
	paused_vm = make(&c);
	timer_init(&again, vm_loop(paused_vm), pause_check, NULL);
	timer_set(&again, clock_ns() + NSEC_PER_SEC);
	struct vm_end end = vm_run(paused_vm);
	dup2(out, 1);
	CHECK_EQ(end.reason, VM_END_STOPPED);
	vm_destroy(paused_vm);
}

/* ---- Save and load ---- */

/* Counts to 400 million in memory, then says whether a register agrees.
 *	xor ebx, ebx
 * 1:	inc ebx; inc dword [0x101000]; cmp ebx, 400000000; jne 1b
 *	cmp ebx, [0x101000]; setne al; out 0xf4, al; jmp $ */
static const u8 long_code[] = {
	0x31, 0xdb, 0x43, 0xff, 0x05, 0x00, 0x10, 0x10, 0x00, 0x81, 0xfb, 0x00, 0x84, 0xd7, 0x17,
	0x75, 0xf1, 0x3b, 0x1d, 0x00, 0x10, 0x10, 0x00, 0x0f, 0x95, 0xc0, 0xe6, 0xf4, 0xeb, 0xfe,
};

/* Saves and replaces the VM until it ends by itself. */
static struct vm_end run_with_saves(struct vm_config *c, unsigned *nr_saves)
{
	struct vm *vm = make(c);
	struct vm_end end;

	c->serials[0].append = true;
	while ((end = vm_run(vm)).reason == VM_END_SAVE) {
		struct vm_snapshot s;
		struct err e = { "" };

		CHECK_EQ(vm_save(vm, &s, &e), 0);
		vm_destroy(vm);
		vm = make(c);
		CHECK_EQ(vm_load(vm, &s, &e), 0);
		CHECK_STR(e.text, "");
		vm_snapshot_free(&s);
		++*nr_saves;
	}
	vm_destroy(vm);
	return end;
}

TEST(vm, saved_and_loaded_it_goes_on)
{
	write_kernel(long_code, sizeof(long_code));
	struct vm_config c = config();
	unsigned nr_saves = 0;

	c.nr_cpus = 2;
	c.save_every_ns = NSEC_PER_SEC / 20;
	struct vm_end end = run_with_saves(&c, &nr_saves);
	CHECK_EQ(end.reason, VM_END_DEBUG_EXIT);
	CHECK_EQ(end.code, 1);
	CHECK(nr_saves > 1);
}

/* Writes 300,000 bytes, counting, to the serial port. */
static const u8 print_code[] = {
	0xba, 0xf8, 3, 0, 0, 0x31, 0xc0, 0xb9, 0xe0, 0x93, 4, 0,
	0xee, 0x40, 0x49, 0x75, 0xfb, 0xe6, 0xf4, 0xeb, 0xfe,
};

TEST(vm, no_output_is_lost_by_saving)
{
	write_kernel(print_code, sizeof(print_code));
	struct vm_config c = config();
	unsigned nr_saves = 0, nr = 0;

	c.save_every_ns = NSEC_PER_SEC / 100;
	CHECK_EQ(run_with_saves(&c, &nr_saves).reason, VM_END_DEBUG_EXIT);
	FILE *f = fopen(serial_path, "r");
	for (int ch; (ch = getc(f)) != EOF; nr++)
		CHECK_EQ(ch, nr & 0xff);
	fclose(f);
	CHECK_EQ(nr, 300000);
	CHECK(nr_saves > 1);
}

TEST(vm, another_configuration_is_not_loaded)
{
	write_kernel(spin, sizeof(spin));
	struct vm_config c = config();
	struct vm *vm = make(&c);
	struct vm_snapshot s;
	struct err e;

	CHECK_EQ(vm_save(vm, &s, &e), 0);
	vm_destroy(vm);
	c.nr_cpus = 2;
	vm = make(&c);
	CHECK_EQ(vm_load(vm, &s, &e), -1);
	CHECK(strstr(e.text, "number of vCPUs"));
	vm_destroy(vm);
	vm_snapshot_free(&s);
}
