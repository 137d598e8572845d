/* SPDX-License-Identifier: MIT */
/*
 * Scalar types and small macros that every layer uses.
 *
 * Addresses have types of their own where mixing them up would be a bug:
 * gva_t is a linear address of whatever guest is running, gpa_t an address in
 * the VM's (L1's) physical memory, l2pa_t an address that a nested guest takes
 * for physical, before EPT.
 */
#ifndef NESTOR_BASE_TYPES_H
#define NESTOR_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

typedef u64 gva_t;
typedef u64 gpa_t;
typedef u64 l2pa_t;

#define KIB(n) ((u64)(n) << 10)
#define MIB(n) ((u64)(n) << 20)
#define GIB(n) ((u64)(n) << 30)

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096u
#define PAGE_MASK  (~(u64)4095)

#define BIT(n)	      ((u64)1 << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))
#define ALIGN_UP(x, a)	 (((x) + (a)-1) & ~((__typeof__(x))(a)-1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a)-1))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define PRINTF(f, a) __attribute__((format(printf, f, a)))

#endif
