// SPDX-License-Identifier: MIT
/*
 * The trial guest. It does what a kernel does first: starts in 32-bit protected
 * mode without paging, asks CPUID, makes its own page tables, enters long mode,
 * changes a page-table entry and looks whether the change took effect, and
 * takes an interrupt from its LAPIC's timer out of HLT. It tells how far it got
 * by a step number at a port, so that a failure has a name.
 */
#include "kvm/trial.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/caps.h"
#include "kvm/kvm_internal.h"
#include "x86/regs.h"

enum {
	TRIAL_MEM = 4 << 20,
	TRIAL_ENTRY = 0x1000, /* trial_code is linked to run here */
	PORT_STEP = 0xf4,     /* the number of the step that was reached */
	PORT_VALUE = 0xf5,    /* what CPUID said */
	LEAF_MARK = 0x40000000,
	MARK = 0x7473654e, /* what we put there: "Nest" */
};

/* Addresses in the guest: 0x10000 PML4, 0x11000 PDPT, 0x12000 and 0x13000 page
 * directories, 0x14000 a page table, 0x15000 IDT, 0x16000 IDT pointer, 0x17000
 * tick count, 0x18000 stack top, 0x20000 and 0x21000 two pages of data. */
__asm__(
	".pushsection .rodata\n"
	".code32\n"
	".balign 16\n"
	"trial_code:\n"
	"	movl $0x18000, %esp\n"
	"	movl $0x40000000, %eax\n"
	"	xorl %ecx, %ecx\n"
	"	cpuid\n"
	"	movl %ebx, %eax\n"
	"	movw $0xf5, %dx\n"
	"	outl %eax, %dx\n"
	"	movl $1, %eax\n"
	"	movw $0xf4, %dx\n"
	"	outl %eax, %dx\n" /* step 1: CPUID */
	/* Page tables: 2 MiB identity page, LAPIC, and 2 MiB.. by 4 KiB pages. */
	"	movl $0x11003, 0x10000\n"
	"	movl $0x12003, 0x11000\n"
	"	movl $0x13003, 0x11018\n"
	"	movl $0x83, 0x12000\n"
	"	movl $0x14003, 0x12008\n"
	"	movl $0xfee0009b, 0x13fb8\n" /* entry 503, not cached */
	"	movl $0x20003, 0x14000\n"
	"	movl %cr4, %eax\n"
	"	orl $0x20, %eax\n"
	"	movl %eax, %cr4\n"
	"	movl $0x10000, %eax\n"
	"	movl %eax, %cr3\n"
	"	movl $0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	orl $0x100, %eax\n"
	"	wrmsr\n"
	"	movl %cr0, %eax\n"
	"	orl $0x80010001, %eax\n"
	"	movl %eax, %cr0\n"
	"	lgdtl 0x1000 + trial_gdtr - trial_code\n"
	"	ljmpl $0x18, $0x1000 + trial_long - trial_code\n"
	".code64\n"
	"trial_long:\n"
	"	movl $2, %eax\n"
	"	movw $0xf4, %dx\n"
	"	outl %eax, %dx\n" /* step 2: long mode */
	"	movl $0x20, %eax\n"
	"	movl %eax, %ss\n"
	"	movl %eax, %ds\n"
	"	movl %eax, %es\n"
	/* The same linear address, two pages in turn. */
	"	movl $0x11111111, 0x200000\n"
	"	movl $0x21003, 0x14000\n"
	"	invlpg 0x200000\n"
	"	movl $0x22222222, 0x200000\n"
	"	cmpl $0x11111111, 0x20000\n"
	"	jne trial_stop\n"
	"	cmpl $0x22222222, 0x21000\n"
	"	jne trial_stop\n"
	"	movl $3, %eax\n"
	"	outl %eax, %dx\n" /* step 3: page tables */
	/* At speed? Two million rounds take a processor a millisecond or two, and
	 * an emulator of single instructions longer than the time limit. */
	"	movl $2000000, %ecx\n"
	"	xorl %eax, %eax\n"
	"3:	addl %ecx, %eax\n"
	"	popcntl %eax, %ebx\n"
	"	decl %ecx\n"
	"	jnz 3b\n"
	"	movl $4, %eax\n"
	"	outl %eax, %dx\n" /* step 4: speed */
	/* Gate 0x40, then one tick of the LAPIC's timer. */
	"	movl $0x1000 + trial_tick - trial_code, %eax\n"
	"	movw %ax, 0x15400\n"
	"	movw $0x18, 0x15402\n"
	"	movw $0x8e00, 0x15404\n"
	"	movw $0x0fff, 0x16000\n"
	"	movq $0x15000, 0x16002\n"
	"	lidt 0x16000\n"
	"	movl $0xfee00000, %ebx\n"
	"	movl $0x1ff, 0xf0(%rbx)\n"
	"	movl $0xb, 0x3e0(%rbx)\n"
	"	movl $0x40, 0x320(%rbx)\n"
	"	movl $100000, 0x380(%rbx)\n"
	"1:	cli\n"
	"	cmpl $0, 0x17000\n"
	"	jne 2f\n"
	"	sti\n"
	"	hlt\n"
	"	jmp 1b\n"
	"2:	movl $5, %eax\n"
	"	movw $0xf4, %dx\n"
	"	outl %eax, %dx\n" /* step 5: timer interrupt */
	"trial_stop:\n"
	"	cli\n"
	"	movl $0xff, %eax\n"
	"	movw $0xf4, %dx\n"
	"	outl %eax, %dx\n"
	"	hlt\n"
	"	jmp trial_stop\n"
	"trial_tick:\n"
	"	movl $0, 0xb0(%rbx)\n"
	"	incl 0x17000\n"
	"	iretq\n"
	".balign 8\n"
	"trial_gdt:\n"
	"	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff\n"
	"	.quad 0x00af9b000000ffff, 0x00cf93000000ffff\n"
	"trial_gdtr:\n"
	"	.word 39\n"
	"	.long 0x1000 + trial_gdt - trial_code\n"
	"trial_code_end:\n"
	".popsection\n");

extern const u8 trial_code[], trial_code_end[];

static const char *const step_names[] = {
	"asking CPUID", "entering long mode", "changing its page tables",
	"computing at a processor's speed", "waiting for its timer's interrupt", NULL,
};
enum { LAST_STEP = 5, STEP_STOPPED = 0xff };

struct trial {
	int vm_fd, cpu_fd;
	struct kvm_run *run;
	u8 *mem;
	u32 step, value;
};

static int trial_make(struct trial *t, int dev_fd, struct err *e)
{
	struct kvm_userspace_memory_region r = { .memory_size = TRIAL_MEM };
	u64 identity = 0xfeffc000;
	int size = kvm_ioctl(dev_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);

	t->vm_fd = kvm_ioctl(dev_fd, KVM_CREATE_VM, NULL);
	if (t->vm_fd < 0)
		return err_set(e, "it cannot create a VM (%s)", strerror(-t->vm_fd));
	kvm_ioctl(t->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	kvm_ioctl(t->vm_fd, KVM_SET_TSS_ADDR, (void *)0xfeffd000ul);
	int ret = kvm_ioctl(t->vm_fd, KVM_CREATE_IRQCHIP, NULL);
	if (ret < 0)
		return err_set(e, "it cannot create interrupt chips (%s)", strerror(-ret));
	t->mem = mmap(NULL, TRIAL_MEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->mem == MAP_FAILED)
		return err_set(e, "there is no memory for a trial");
	memcpy(t->mem + TRIAL_ENTRY, trial_code, (size_t)(trial_code_end - trial_code));
	r.userspace_addr = (u64)t->mem;
	ret = kvm_ioctl(t->vm_fd, KVM_SET_USER_MEMORY_REGION, &r);
	if (ret < 0)
		return err_set(e, "it takes no guest memory (%s)", strerror(-ret));
	t->cpu_fd = kvm_ioctl(t->vm_fd, KVM_CREATE_VCPU, NULL);
	if (t->cpu_fd < 0)
		return err_set(e, "it cannot create a vCPU (%s)", strerror(-t->cpu_fd));
	t->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, t->cpu_fd, 0);
	if (t->run == MAP_FAILED)
		return err_set(e, "a vCPU's area cannot be mapped");
	return 0;
}

static void mark_cpuid(struct kvm_cpuid2 *c)
{
	for (u32 i = 0; i < c->nent; i++)
		if (c->entries[i].function == LEAF_MARK) {
			c->entries[i].ebx = MARK;
			return;
		}
	c->entries[c->nent++] = (struct kvm_cpuid_entry2){ .function = LEAF_MARK,
							   .eax = LEAF_MARK, .ebx = MARK };
}

static int trial_cpuid(struct trial *t, int dev_fd, struct err *e)
{
	struct kvm_cpuid2 *c = kvm_supported_cpuid(dev_fd);

	if (!c)
		return err_set(e, "it has no CPUID table");
	mark_cpuid(c);
	int r = kvm_ioctl(t->cpu_fd, KVM_SET_CPUID2, c);
	free(c);
	return r < 0 ? err_set(e, "it refuses its own CPUID table (%s)", strerror(-r)) : 0;
}

static int trial_regs(struct trial *t, struct err *e)
{
	static const struct kvm_segment code = { .limit = ~0u, .selector = 8, .type = 11,
						 .present = 1, .db = 1, .s = 1, .g = 1 };
	static const struct kvm_segment data = { .limit = ~0u, .selector = 16, .type = 3,
						 .present = 1, .db = 1, .s = 1, .g = 1 };
	struct kvm_regs regs = { .rip = TRIAL_ENTRY, .rflags = 2 };
	struct kvm_sregs s;
	int r = kvm_ioctl(t->cpu_fd, KVM_GET_SREGS, &s);

	if (!r) {
		s.cs = code;
		s.ds = s.es = s.fs = s.gs = s.ss = data;
		s.cr0 = CR0_PE | CR0_ET | CR0_NE;
		r = kvm_ioctl(t->cpu_fd, KVM_SET_SREGS, &s);
	}
	if (!r)
		r = kvm_ioctl(t->cpu_fd, KVM_SET_REGS, &regs);
	return r < 0 ? err_set(e, "it does not take registers (%s)", strerror(-r)) : 0;
}

/* True when the guest is done. */
static bool trial_out(struct trial *t)
{
	struct kvm_run *run = t->run;
	u32 value;

	memcpy(&value, (u8 *)run + run->io.data_offset, sizeof(value));
	if (run->io.port == PORT_VALUE)
		t->value = value;
	else if (run->io.port == PORT_STEP && value != STEP_STOPPED)
		t->step = value;
	return run->io.port == PORT_STEP && (value == STEP_STOPPED || value == LAST_STEP);
}

static int trial_loop(struct trial *t, struct err *e)
{
	for (;;) {
		if (ioctl(t->cpu_fd, KVM_RUN, NULL) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			return err_set(e, "KVM_RUN fails (%s) while the guest is %s",
				       strerror(errno), step_names[t->step]);
		}
		if (t->run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
			return err_set(e, "KVM gave up on the trial guest while it was %s, as if it "
				       "emulated guests instead of running them",
				       step_names[t->step]);
		if (t->run->exit_reason != KVM_EXIT_IO)
			return err_set(e, "the trial guest left for reason %u while %s",
				       t->run->exit_reason, step_names[t->step]);
		if (trial_out(t))
			return 0;
	}
}

static int trial_judge(const struct trial *t, struct err *e)
{
	if (t->step != LAST_STEP)
		return err_set(e, "the trial guest went wrong while %s", step_names[t->step]);
	if (t->value != MARK)
		return err_set(e, "a guest's CPUID does not show what it was given");
	return 0;
}

int kvm_trial_run(int dev_fd, struct err *e)
{
	struct trial t = { .vm_fd = -1, .cpu_fd = -1 };

	/* What it holds goes with the process. */
	if (trial_make(&t, dev_fd, e) || trial_cpuid(&t, dev_fd, e) || trial_regs(&t, e) ||
	    trial_loop(&t, e))
		return -1;
	return trial_judge(&t, e);
}
