/* SPDX-License-Identifier: MIT */
/*
 * Shared by the helpers of FPU and vector state: the mode checks of SSE, AVX
 * and x87 instructions, the host's registers as an XSAVE image in c->xbuf, and
 * the memory operand of a save or restore.
 *
 * The guest's vector and x87 state is in the host's registers while these run.
 * c->xbuf is in the host's standard format; the guest's processor model has the
 * same offsets (cpu_model.xsave_offset).
 */
#ifndef NESTOR_ENGINE_FPU_H
#define NESTOR_ENGINE_FPU_H

#include "engine/soft.h"

/* Places in an XSAVE area. */
enum { FX_FCW = 0, FX_FSW = 2, FX_FOP = 6, FX_FIP = 8, FX_FDP = 16, FX_MXCSR = 24, FX_MASK = 28,
       FX_ST = 32, FX_XMM = 160, FX_END = 416, XSAVE_HEADER = 512, XSAVE_EXT = 576 };

#define MXCSR_VALID 0xffffu /* MXCSR_MASK */

/* What of the XSAVE state the host's registers hold. PKRU never. */
#define HOST_STATE (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512)

static inline void host_xsave(struct soft_cpu *c, u64 mask)
{
	__asm__ volatile("xsave64 %0"
			 : "+m"(c->xbuf)
			 : "a"((u32)mask), "d"((u32)(mask >> 32)));
}
static inline void host_xrstor(struct soft_cpu *c, u64 mask)
{
	__asm__ volatile("xrstor64 %0"
			 :
			 : "m"(c->xbuf), "a"((u32)mask), "d"((u32)(mask >> 32)));
}
static inline void host_fxsave(struct soft_cpu *c)
{
	__asm__ volatile("fxsave64 %0" : "=m"(c->xbuf));
}
static inline void host_fxrstor(struct soft_cpu *c)
{
	__asm__ volatile("fxrstor64 %0" : : "m"(c->xbuf));
}

/* #UD and #NM as the classes of instructions have them. */
void fpu_check_x87(struct soft_cpu *c);
void fpu_check_sse(struct soft_cpu *c);
void fpu_check_avx(struct soft_cpu *c);
/* A pending unmasked x87 exception, which a waiting instruction raises first. */
void fpu_check_pending(struct soft_cpu *c);

/* The memory operand of a state save or restore. */
struct fpu_area {
	gva_t at;
	u8 *host; /* NULL: copy by linear address */
};

/* Checks everything that writing or reading @size bytes may raise: alignment
 * to @align (1: none), segment, pages. */
struct fpu_area fpu_area_open(struct soft_cpu *c, const struct insn *i, unsigned size,
			      unsigned align, bool write);
void fpu_area_write(struct soft_cpu *c, const struct fpu_area *a, unsigned off, const void *from,
		    unsigned size);
void fpu_area_read(struct soft_cpu *c, const struct fpu_area *a, unsigned off, void *to,
		   unsigned size);

/* Puts the guest's own x87 pointers, and MXCSR_MASK, in an image that the host
 * made, in the 64-bit form or the one with selectors; and takes them out of one
 * that the guest made. */
void fpu_show_pointers(struct soft_cpu *c, u8 *fx, bool wide);
void fpu_keep_pointers(struct soft_cpu *c, u8 *fx, bool wide);

static inline u32 load32(const u8 *p)
{
	u32 v;

	__builtin_memcpy(&v, p, 4);
	return v;
}
static inline u64 load64(const u8 *p)
{
	u64 v;

	__builtin_memcpy(&v, p, 8);
	return v;
}
static inline u16 load16(const u8 *p)
{
	u16 v;

	__builtin_memcpy(&v, p, 2);
	return v;
}
static inline void store16(u8 *p, u16 v)
{
	__builtin_memcpy(p, &v, 2);
}
static inline void store32(u8 *p, u32 v)
{
	__builtin_memcpy(p, &v, 4);
}
static inline void store64(u8 *p, u64 v)
{
	__builtin_memcpy(p, &v, 8);
}

#endif
