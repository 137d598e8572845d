// SPDX-License-Identifier: MIT
/* Programs that once ran differently, and why. */
#include "program.h"

#include <string.h>

#include "../lib/insn_gen.h"
#include "x86/regs.h"

/* Addresses in the bytes: 20000xxx DATA_LOW (20002ffd crosses into the read-only page,
 * 20000ffd into a second writable one), 1ffff000 is not mapped. */
static const struct {
	const char *name, *bytes;
	unsigned size;
	bool code32, ac;
} cases[] = {
#define CASE(name, bytes)    { name, bytes, sizeof(bytes) - 1, false, false }
#define CASE32(name, bytes)  { name, bytes, sizeof(bytes) - 1, true, false }
#define CASE_AC(name, bytes) { name, bytes, sizeof(bytes) - 1, false, true } /* with EFLAGS.AC */
	CASE("mov ah, imm8 wrote AL", "\xb4\x12"),
	CASE("rcr took a dead carry: sbb al, 89; rcr word [mem], fc; add al, 64",
	     "\x1c\x89\x66\xc1\x1c\x25\x57\x05\x00\x20\xfc\x04\x64"),
	CASE("rcl took a dead carry: add al, 89; rcl dword [mem], 1; add al, 64",
	     "\x04\x89\xd1\x14\x25\x00\x05\x00\x20\x04\x64"),
	CASE("undefined flags of mul: cmp al, dl; mul byte [mem]", "\x38\xd0\xf6\x24\x25\x01\x00\x00\x20"),
	CASE("undefined flags of imul: imul eax, [mem]", "\x0f\xaf\x04\x25\x01\x00\x00\x20"),
	CASE("undefined flags of div: mov edx, 0; div dword [mem]",
	     "\xba\x00\x00\x00\x00\xf7\x34\x25\x01\x00\x00\x20"),
	CASE("maskmovq changed an exponent: mov edi, mem; maskmovq mm1, mm0",
	     "\xbf\x00\x01\x00\x20\x0f\xf7\xc8"),
	CASE("fistp with an unmasked exception: push 360; fldcw [rsp]; fistp word [mem]",
	     "\x68\x60\x03\x00\x00\xd9\x2c\x24\xdf\x1c\x25\xff\x0f\x00\x20"),
	CASE("vmaskmovps wrote all: vmaskmovps [mem], xmm5, xmm6",
	     "\xc4\xe2\x51\x2e\x34\x25\xf9\x0f\x00\x20"),
	CASE("vpmaskmovd wrote all: vpmaskmovd [mem], ymm5, ymm6",
	     "\xc4\xe2\x55\x8e\x34\x25\x00\x01\x00\x20"),
	CASE("vmaskmovps with a mask of zero faulted: vpxor xmm5; vmaskmovps xmm6, xmm5, [unmapped]",
	     "\xc5\xd1\xef\xed\xc4\xe2\x51\x2c\x34\x25\xf0\xff\xff\x1f"),
	CASE("... not canonical: mov rax, 8000000000000000; vpxor xmm5; vmaskmovps xmm6, xmm5, [rax]",
	     "\x48\xb8\x00\x00\x00\x00\x00\x00\x00\x80\xc5\xd1\xef\xed\xc4\xe2\x51\x2c\x30"),
	CASE("rep lods looked at RDI: mov rdi, 8000000000000000; mov esi, mem; mov ecx, 5; rep lodsd",
	     "\x48\xbf\x00\x00\x00\x00\x00\x00\x00\x80\xbe\x00\x01\x00\x20\xb9\x05\x00\x00\x00\xf3\xad"),
	CASE("rep movs looked at RDI first: mov rdi, 8000000000000000; mov esi, unmapped; mov ecx, 5",
	     "\x48\xbf\x00\x00\x00\x00\x00\x00\x00\x80\xbe\x00\xf1\xff\x1f\xb9\x05\x00\x00\x00\xf3\xa5"),
	CASE("xlat ignored fs: mov ebx, mem; xlat fs:", "\xbb\x10\x01\x00\x20\x64\xd7"),
	CASE("#XM of cvtps2pi was #MF: push 1b00; ldmxcsr [rsp]; cvtps2pi mm4, [mem]",
	     "\x68\x00\x1b\x00\x00\x0f\xae\x14\x24\x0f\x2d\x24\x25\x04\x01\x00\x20"),
	CASE("jmp to no canonical address: mov rax, 1234567890abcdef; jmp rax",
	     "\x48\xb8\xef\xcd\xab\x90\x78\x56\x34\x12\xff\xe0"),
	CASE("call to one: mov rax, 1234567890abcdef; call rax",
	     "\x48\xb8\xef\xcd\xab\x90\x78\x56\x34\x12\xff\xd0"),
	CASE("ret to one: mov rax, 1234567890abcdef; push rax; ret 16",
	     "\x48\xb8\xef\xcd\xab\x90\x78\x56\x34\x12\x50\xc2\x10\x00"),
	CASE("#PF before the #GP of alignment: movaps xmm0, [unmapped + 7]",
	     "\x0f\x28\x04\x25\x07\xf1\xff\x1f"),
	CASE("#SS before it: mov rbp, 8000000000000001; movaps xmm0, [rbp]",
	     "\x48\xbd\x01\x00\x00\x00\x00\x00\x00\x80\x0f\x28\x45\x00"),
	CASE("#PF before a pending #MF: push 360; fldcw [rsp]; fld1; fldz; fdivp; paddb mm3, [unmapped]",
	     "\x68\x60\x03\x00\x00\xd9\x2c\x24\xdb\xe2\xd9\xe8\xd9\xee\xde\xf9\x0f\xfc\x1c\x25\xf3\xff\xff\x1f"),
	CASE("bts with 32-bit addresses: mov rdi, -1234; mov edx, 8; bts [edx], edi",
	     "\x48\xc7\xc7\x2e\xfb\xff\xff\xba\x08\x00\x00\x00\x67\x0f\xab\x3a"),
	CASE("nothing was probed at the end: mov rbp, -45; mov edi, 14e; btr [rbp + 15], rdi",
	     "\x48\xc7\xc5\xbb\xff\xff\xff\xbf\x4e\x01\x00\x00\x48\x0f\xb3\x7d\x15"),
	CASE32("the fourth register's top bit: vblendvpd ymm1, ymm7, [mem], dd",
	       "\xc4\xe3\x45\x4b\x0d\x00\x01\x00\x20\xdd"),
	CASE32("vzeroupper of 32-bit code", "\xc5\xf8\x77"),
	CASE32("vzeroall of 32-bit code", "\xc5\xfc\x77"),
	CASE_AC("#PF before #AC: mov qword [mem], 10000000; mov rsp, 1003; call [mem]",
		"\x48\xc7\x04\x25\x00\x01\x00\x20\x00\x00\x00\x10\x48\xc7\xc4\x03\x10\x00\x00\xff\x14\x25\x00\x01\x00\x20"),
	CASE_AC("#AC of a gather: vpcmpeqd xmm1; vpxor xmm2; mov eax, mem + 1; vpgatherdd xmm0, [rax + xmm2 * 4], xmm1",
		"\xc5\xf1\x76\xc9\xc5\xe9\xef\xd2\xb8\x01\x01\x00\x20\xc4\xe2\x71\x90\x04\x90"),
	CASE("no trap at RIP -1: push -1; push 302; popf; ret", "\x6a\xff\x68\x02\x03\x00\x00\x9d\xc3"),
	CASE("rep read itself anew: lea rdi, [rip]; mov eax, cc; mov ecx, 20; rep stosb",
	     "\x48\x8d\x3d\x00\x00\x00\x00\xb8\xcc\x00\x00\x00\xb9\x14\x00\x00\x00\xf3\xaa"),
	CASE32("arpl wrote what it left alone: mov eax, read-only; arpl [eax], bx",
	       "\xb8\x10\x30\x00\x20\x63\x18"),
	CASE32("bound read all at once: mov eax, fffffffc; bound ecx, [eax]", "\xb8\xfc\xff\xff\xff\x62\x08"),
	CASE32("fbstp was one piece: fbstp [mem to read-only]", "\xdf\x35\xfc\x2f\x00\x20"),
	CASE32("a crossing page was no crossed limit: mov edx, -1; mul dword [edx]", "\xba\xff\xff\xff\xff\xf7\x22"),
	CASE32("vpmaskmovd did not wrap: mov eax, fffffffd; vpmaskmovd [eax], ymm4, ymm2",
	       "\xb8\xfd\xff\xff\xff\xc4\xe2\x5d\x8e\x10"),
	CASE32("flags of test lost where a segment is not flat: test eax, 6d3e56e1; vmaskmovps [2100], ymm6, ymm1",
	       "\xa9\xe1\x56\x3e\x6d\xc4\xe2\x4d\x2e\x0d\x00\x21\x00\x00"),
};

const char *program_case(struct program *p, unsigned n, u64 seed, const struct cpu_model *model)
{
	struct program_options o = { .model = model, .max_items = 1, .row = -1, .calm = true };
	unsigned at = 0;

	if (n >= ARRAY_SIZE(cases))
		return NULL;
	o.code32 = cases[n].code32;
	program_make(p, seed, &o);
	if (cases[n].ac)
		p->start.rflags |= RFLAGS_AC;
	p->nr = 0;
	while (at < cases[n].size) {
		struct insn_mode mode = { .code64 = !p->code32, .code32 = p->code32 };
		struct item *it = &p->item[p->nr++];
		struct insn i;

		if (insn_decode((const u8 *)cases[n].bytes + at, cases[n].size - at, 0, mode, &i) !=
		    DECODE_OK)
			return "a case that cannot be decoded";
		*it = (struct item){ .len = i.len, .row = i.row };
		memcpy(it->bytes, cases[n].bytes + at, i.len);
		at += i.len;
	}
	return cases[n].name;
}
