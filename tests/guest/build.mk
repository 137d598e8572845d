# Bare-metal test guests: out/guest/NAME.elf, ELF32 for multiboot loaders though the code is 64-bit.
GUESTS := $(filter-out lib,$(basename $(notdir $(wildcard tests/guest/*.c))))
# Statements of tests become nested functions, which only gcc knows.
GUEST_CC := gcc
GUEST_CFLAGS := -std=gnu11 -m64 -O1 -g0 -ffreestanding -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none \
	-mno-red-zone -mgeneral-regs-only -fno-asynchronous-unwind-tables -fno-strict-aliasing -Itests/guest $(WARN)
GUEST_LIB := out/guest/lib/start.o out/guest/lib/lib.o out/guest/lib/vmx.o
TESTS += $(GUESTS:%=out/guest/%.elf)

.PHONY: guest
guest: $(GUESTS:%=out/guest/%.elf)
.SECONDARY: $(GUESTS:%=out/guest/%.o) $(GUESTS:%=out/guest/%.elf64)
out/guest/%.o: tests/guest/%.c
	@mkdir -p $(@D)
	$(GUEST_CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<
out/guest/%.o: tests/guest/%.S
	@mkdir -p $(@D)
	$(GUEST_CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<
out/guest/%.elf64: out/guest/%.o $(GUEST_LIB) tests/guest/lib/guest.lds
	ld -m elf_x86_64 -nostdlib -static -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments \
		-T tests/guest/lib/guest.lds -o $@ $(filter %.o,$^)
out/guest/%.elf: out/guest/%.elf64
	objcopy -O elf32-i386 $< $@
-include $(wildcard out/guest/*.d out/guest/lib/*.d)
