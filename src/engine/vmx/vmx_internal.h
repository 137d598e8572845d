/* SPDX-License-Identifier: MIT */
/*
 * What the files of engine/vmx share: capabilities, the VMCS and its cache, a
 * vCPU's VMX state. See vmx.h for the rest of the engine's view.
 *
 * Theory of operation
 *
 * A VMCS is in the guest's memory only while it is inactive, in a layout of our
 * own: struct vmcs as it is. VMPTRLD copies it into one of a few slots, where
 * VMREAD, VMWRITE, VM entries and exits work on it; VMCLEAR copies it back.
 * When all slots are taken, the one unused for longest is copied back and can
 * be copied in again: the SDM lets software touch an active VMCS's memory at no
 * time, so nobody can see that.
 *
 * Entry checks are rows (checks.c) that name the groups of fields they read. A
 * slot remembers which groups were written since they last passed, so that
 * the usual VM entry runs the few that cannot be remembered. What a VM exit
 * stores counts as unwritten: state that the processor was in is valid.
 */
#ifndef NESTOR_ENGINE_VMX_VMX_INTERNAL_H
#define NESTOR_ENGINE_VMX_VMX_INTERNAL_H

#include <assert.h>

#include "base/loop.h"
#include "engine/soft.h"
#include "engine/vmx/ept.h"
#include "engine/vmx/vmx.h"
#include "x86/vmx.h"

/* ---- Capabilities (caps.c) ---- */

/* Per word of controls: the bits that must be 1 and those that may be. */
struct vmx_ctl_cap {
	u32 required, allowed;
};

enum vmx_ctl_word { CTL_PIN, CTL_PROC, CTL_PROC2, CTL_EXIT, CTL_ENTRY, NR_CTL_WORDS };

struct vmx_caps {
	struct vmx_ctl_cap ctl[NR_CTL_WORDS];
	u64 cr4_fixed1;	  /* CR4 bits that this processor has */
	u64 efer_valid;
	u64 ept_vpid;	  /* IA32_VMX_EPT_VPID_CAP */
	u64 phys_invalid; /* physical-address bits beyond MAXPHYADDR */
	u8 phys_bits;
};

#define VMX_CR0_FIXED0 (CR0_PE | CR0_NE | CR0_PG)
#define VMX_CR0_FIXED1 0xffffffffull
#define VMX_CR4_FIXED0 CR4_VMXE

enum { VMX_TIMER_SHIFT = 5, VMX_NR_CR3_TARGETS = 4, VMX_MSR_LIST_MAX = 512 };

void caps_init(struct vmx_caps *caps, const struct cpu_model *m);
/* The processor's revision of struct vmcs: changes whenever its layout does. */
u32 vmcs_revision(void);

/* ---- The VMCS (vmcs.c) ---- */

/* Groups of fields, for entry checks. */
enum vmcs_group {
	G_NONE = 0,
	G_CTL = 1 << 0,	   /* execution, exit and entry controls */
	G_PROC = 1 << 1,   /* window-exiting bits of the primary controls (others: G_CTL too) */
	G_INJ = 1 << 2,	   /* event injection */
	G_TPR = 1 << 3,	   /* TPR threshold */
	G_HOST = 1 << 4,
	G_CR = 1 << 5,	   /* guest control and debug registers, MSRs */
	G_SEG = 1 << 6,	   /* guest segments, GDTR, IDTR */
	G_RIP = 1 << 7,
	G_FLAGS = 1 << 8,
	G_NONREG = 1 << 9, /* activity, interruptibility, pending debug exceptions, link pointer */
	G_PDPTE = 1 << 10,
	G_ALL = (1 << 11) - 1,
	G_ALWAYS = 1 << 11, /* of a check: depends on more than the VMCS */
};
enum { NR_GROUPS = 12, CHECK_WORDS = 2 };

typedef u16 vmcs_u16;
typedef u32 vmcs_u32;
typedef u64 vmcs_u64;
typedef u64 vmcs_uN;

/* The image in guest memory. The first two words are the SDM's. */
struct vmcs {
	u32 revision; /* bit 31: shadow-VMCS indicator */
	u32 abort;
	u32 launched; /* launch state: 0 clear, 1 launched */
	u32 reserved;
#define FIELD(enc, name, width, access, when, group) vmcs_u##width name;
#include "engine/vmx/vmcs.def"
#undef FIELD
};
enum { VMCS_HEADER_SIZE = 8 }; /* what the SDM gives to software: never written back */
static_assert(sizeof(struct vmcs) <= PAGE_SIZE, "a VMCS region is a page");

/* Encodings, as VMCS_guest_rip. */
enum vmcs_encoding {
#define FIELD(enc, name, width, access, when, group) VMCS_##name = enc,
#include "engine/vmx/vmcs.def"
#undef FIELD
};

struct vmcs_slot {
	gpa_t pa; /* ~0: free */
	u64 last_used;
	u32 dirty; /* enum vmcs_group: checks that must run */
	struct vmcs v;
};

/* Field numbers by encoding: (width, type, index) -> row + 1. */
enum { VMCS_MAP_SIZE = 512, NR_VMCS_SLOTS = 16 };

/* A row of vmcs.def for the accessors. */
struct vmcs_field {
	const char *name;
	u16 encoding, offset;
	u16 group;
	u8 size;
	bool read_only;
	u8 when_word; /* enum vmx_ctl_word, NR_CTL_WORDS = always */
	u32 when_bit;
};
extern const struct vmcs_field vmcs_fields[];
extern const unsigned vmcs_nr_fields;

struct vmx;
void vmcs_map_init(struct vmx *x);
unsigned vmcs_max_index(const struct vmx *x); /* for IA32_VMX_VMCS_ENUM */
/* NULL: unsupported component. @high: bits 63:32 of a 64-bit field are meant. */
const struct vmcs_field *vmcs_find(const struct vmx *x, u64 encoding, bool *high);
u64 vmcs_get(const struct vmcs *v, const struct vmcs_field *f, bool high);
void vmcs_put(struct vmcs_slot *s, const struct vmcs_field *f, bool high, u64 value);

/* The cache of active VMCSs. */
struct vmcs_slot *vmcs_activate(struct soft_cpu *c, gpa_t pa);
void vmcs_clear(struct soft_cpu *c, gpa_t pa);
void vmcs_write_back(struct soft_cpu *c, struct vmcs_slot *s);
void vmcs_forget_all(struct vmx *x); /* nothing is written */

/* ---- EPT ---- */

enum { EPT_CACHE_SIZE = 256 };

struct ept_line {
	u64 eptp; /* 0: free */
	l2pa_t page;
	gpa_t gpa; /* of the 4-KiB page */
	u64 page_size;
	u8 perms;
	bool writable;
};

/* ---- A vCPU's VMX state ---- */

struct vmx {
	bool in_operation;
	gpa_t vmxon_pa;
	struct vmcs_slot *cur; /* NULL: no current VMCS */
	bool virtual_nmi_blocked;

	/* The controls in force; all 0 in root operation. */
	u32 pin, proc, proc2;

	/* An IRET at this RIP has ended NMI blocking (bit 12 of the exit
	 * information when it then faults); ~0 = none. */
	u64 iret_rip;

	/* VMX-preemption timer. @armed_tsc: when the loop's timer comes, ~0 =
	 * not armed; a deadline behind it needs no new timer. */
	bool timer_active;
	u64 timer_deadline; /* L1's TSC */
	_Atomic u64 armed_tsc;
	struct timer timer;

	struct vmx_caps caps;
	u8 map[VMCS_MAP_SIZE];
	u64 check_rows[NR_GROUPS][CHECK_WORDS]; /* the entry checks that read a group */
	u64 clock; /* for last_used */
	struct vmcs_slot slots[NR_VMCS_SLOTS];
	struct ept_line ept[EPT_CACHE_SIZE];
};

/* ---- Entry and exit ---- */

/* VMLAUNCH, VMRESUME after the checks of insn.c; does not return. */
_Noreturn void vmx_entry(struct soft_cpu *c, const struct insn *i, bool launch);

/* The controls of @v come into force. */
void vmx_set_non_root(struct soft_cpu *c, const struct vmcs *v);
/* The exit qualification of instructions with a memory operand. */
u64 vmx_displacement(const struct insn *i);

/* An exit's information beyond reason and qualification. */
struct vmx_exit_info {
	u32 reason;
	u64 qualification;
	u32 intr_info, error_code;
	u32 insn_len, insn_info;
	bool has_gla, has_gpa;
	gva_t gla;
	l2pa_t gpa;
	bool fault_like;     /* RFLAGS.RF is saved as 1, unless delivering an event */
	bool no_vectoring;   /* double and triple faults */
};
_Noreturn void vmx_exit_with(struct soft_cpu *c, const struct vmx_exit_info *x);
/* VM-entry failure during or after loading guest state. */
_Noreturn void vmx_entry_failed(struct soft_cpu *c, u32 reason, u64 qualification);

/* MSR areas: 0, or the 1-based number of the entry that cannot be processed. */
unsigned vmx_msr_store(struct soft_cpu *c, gpa_t addr, unsigned count);
unsigned vmx_msr_load(struct soft_cpu *c, gpa_t addr, unsigned count);
bool vmx_load_pdptes(struct soft_cpu *c, u64 cr3, u64 pdpte[4]);
_Noreturn void vmx_abort(struct soft_cpu *c, u32 indicator);

void vmx_timer_start(struct soft_cpu *c, u32 value);
u32 vmx_timer_stop(struct soft_cpu *c); /* what is left of it */
bool vmx_timer_expired(struct soft_cpu *c);
void vmx_timer_init(struct soft_cpu *c);
void vmx_timer_fini(struct soft_cpu *c);

/* ---- Entry checks (checks.c) ---- */

enum check_kind { CHECK_CONTROLS, CHECK_HOST, CHECK_GUEST };

struct entry_check {
	const char *heading; /* of the SDM */
	const char *text;
	enum check_kind kind;
	u32 inputs; /* enum vmcs_group */
	u32 qualification; /* of an entry failure */
	bool (*ok)(struct soft_cpu *c, const struct vmcs *v);
};
extern const struct entry_check entry_checks[];
extern const unsigned nr_entry_checks;

void checks_init(struct vmx *x);
/* The first check that fails among those that @dirty makes necessary, or NULL. */
const struct entry_check *checks_run(struct soft_cpu *c, const struct vmcs *v, u32 dirty);

/* ---- Small things ---- */

static inline bool addr_canonical(u64 a)
{
	return (u64)((s64)(a << 16) >> 16) == a;
}
static inline bool pat_valid(u64 pat)
{
	/* Types 0, 1, 4, 5, 6, 7: no reserved bits, and bit 2 with bit 1. */
	return !(pat & 0xf8f8f8f8f8f8f8f8ull) &&
	       !((pat & 0x0202020202020202ull) & ~(pat >> 1 & 0x0202020202020202ull));
}
static inline u32 vmcs_proc2(const struct vmcs *v) /* secondary controls in force */
{
	return v->proc_controls & PROC_SECONDARY ? v->proc2_controls : 0;
}
static inline bool vmx_has(const struct soft_cpu *c, u32 proc2_bit)
{
	return c->vmx->proc2 & proc2_bit;
}

#endif
