# Nestor. GNU Make, non-recursive; each folder's build.mk lists its objects.
#   make            out/MODE/nestor, and ./nestor for the default mode
#   make MODE=asan|ubsan|tsan|cov    CC=clang works too
#   make check      builds and runs all tests; tests/run selects    make check-unit
#   make lint, make format
MODE ?= release
CC ?= gcc
OUT := out/$(MODE)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla -Wformat=2 \
	-Wwrite-strings -Wpointer-arith -Wimplicit-fallthrough
ifdef WERROR
WARN += -Werror
endif
CFLAGS_release := -O2 -g
CFLAGS_asan := -O1 -g -fsanitize=address -fno-omit-frame-pointer
# Guest memory is accessed at whatever alignment the guest chose, as x86 does.
CFLAGS_ubsan := -O1 -g -fsanitize=undefined -fno-sanitize=alignment -fno-sanitize-recover=undefined
CFLAGS_tsan := -O1 -g -fsanitize=thread
CFLAGS_cov := -O0 -g --coverage
CFLAGS := -std=gnu11 -D_GNU_SOURCE -Isrc -fno-strict-aliasing -pthread $(WARN) $(CFLAGS_$(MODE)) $(EXTRA_CFLAGS)
LDFLAGS := -pthread $(filter -fsanitize=% --coverage,$(CFLAGS_$(MODE))) -Wl,-z,now
LDLIBS := -ljansson -lhttp_parser -lm

OBJS :=
include $(sort $(wildcard src/*/build.mk))
OBJ := $(addprefix $(OUT)/,$(OBJS))

.PHONY: all clean
all: $(OUT)/nestor
ifeq ($(MODE),release)
	@ln -sf $(OUT)/nestor nestor
endif

$(OUT)/nestor: $(OBJ)
	$(CC) $(LDFLAGS) -o $@ $(OBJ) $(LDLIBS)

# The NAT helper is a program of its own: libslirp brings GLib along.
NAT_OBJ := $(addprefix $(OUT)/src/,net/nathelper/main.o net/hostfwd.o base/log.o)
ifneq ($(wildcard /usr/include/slirp/libslirp.h),)
all unit: $(OUT)/nestor-nat
endif
$(OUT)/nestor-nat: $(NAT_OBJ)
	$(CC) $(LDFLAGS) -o $@ $(NAT_OBJ) -lslirp

# The engine, and what it calls at every turn, keep the guest's vector state in
# the registers: no vector instruction, and no libc memory function (those use
# them). Whatever else they call goes through vec_saved().
# A fault of the guest's leaves by exec_unwind(), which would leave its frames' red
# zones poisoned: asan looks at no stack here, and need not be told of what does
# not return. tsan's calls would use vector registers.
NOVEC_FLAGS := -mgeneral-regs-only -fno-stack-protector -fno-sanitize=thread
NOVEC_FLAGS_asan := $(if $(findstring clang,$(CC)),-mllvm -asan-stack=0,--param asan-stack=0)
# Guest memory is accessed at any address, at once, as the guest would.
NOVEC_FLAGS_ubsan := -fno-sanitize=alignment
NOVEC_SYMS_tsan := $(foreach f,pthread_mutex_lock pthread_mutex_unlock clock_gettime write,\
	--redefine-sym $(f)=novec_$(f))
define novec
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(NOVEC_FLAGS) $(NOVEC_FLAGS_$(MODE)) -MMD -MP -c -o $@ $<
	objcopy --redefine-sym memcpy=novec_memcpy --redefine-sym memset=novec_memset \
		--redefine-sym memmove=novec_memmove --redefine-sym memcmp=novec_memcmp \
		--redefine-sym bcmp=novec_bcmp $(NOVEC_SYMS_$(MODE)) \
		--redefine-sym __asan_handle_no_return=novec_no_return $@
endef
$(OUT)/src/base/novec.o: CFLAGS += -mgeneral-regs-only \
	$(if $(findstring clang,$(CC)),-fno-builtin,-fno-tree-loop-distribute-patterns)
$(OUT)/src/engine/%.o: src/engine/%.c
	$(novec)
$(OUT)/src/cpu/%.o: src/cpu/%.c
	$(novec)
$(OUT)/src/base/loop.o: src/base/loop.c
	$(novec)

# Rows of its tables name only the members that they set.
$(OUT)/src/shell/%.o $(OUT)/tests/unit/shell/%.o: CFLAGS += -Wno-missing-field-initializers

$(OUT)/src/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/src/%.o: src/%.S
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

# Unit tests: one program of every tests/unit/LAYER/FILE_test.c.
UNIT_SRC := $(wildcard tests/unit/*/*_test.c tests/unit/*/*_fixture.c) tests/lib/test.c tests/lib/softguest.c \
	tests/lib/insn_gen.c tests/lib/tinykernel.c
UNIT_LIBS += -lZydis
UNIT_OBJ := $(UNIT_SRC:%.c=$(OUT)/%.o)
.PHONY: unit check-unit
unit: $(OUT)/unit
$(OUT)/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<
$(OUT)/unit: $(UNIT_OBJ) $(filter-out $(OUT)/src/cli/main.o,$(OBJ))
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(UNIT_LIBS)
check-unit: $(OUT)/unit
	$(OUT)/unit

# Everything tests/run wants built: the unit tests, and what each tests/GROUP/build.mk adds to TESTS.
TESTS := $(OUT)/unit
include $(sort $(wildcard tests/*/build.mk))
.PHONY: tests check check-shell lint format check-format
tests: $(TESTS)
check: all tests
	tests/run

C_FILES := $(wildcard src/*/*.[ch] src/*/*/*.[ch] tests/*/*.[ch] tests/*/*/*.[ch] bench/*.[ch])
SHELL_FILES := demo check tests/run $(wildcard tools/*) $(wildcard tests/e2e/*.sh tests/soak/*.sh) bench/run bench/guest
check-shell:
	shellcheck -x $(SHELL_FILES)
lint: check-shell
	tools/check-layers
	tools/check-novec $(OUT)
	clang-tidy --quiet $(filter src/%.c,$(C_FILES)) -- -std=gnu11 -D_GNU_SOURCE -Isrc
format:
	clang-format -i $(C_FILES)
check-format:
	clang-format --dry-run -Werror $(C_FILES)

# The translator against the host CPU on the same bytes: make bench-engine
$(OUT)/bench/kernels.bin: bench/engine/kernels.c
	@mkdir -p $(@D)
	$(CC) -O2 -ffreestanding -fno-pic -mno-red-zone -nostdlib -static -fno-builtin -fcf-protection=none \
		-fno-stack-protector -fno-asynchronous-unwind-tables -Wl,--build-id=none \
		-Wl,-Ttext=0x400000 -Wl,-e,kernel_main \
		-Wl,-z,norelro -Wl,-N -Wl,--no-warn-rwx-segments -o $(OUT)/bench/kernels.elf $<
	objcopy -O binary $(OUT)/bench/kernels.elf $@
$(OUT)/bench/engine: bench/engine/main.c tests/lib/softguest.c $(filter-out $(OUT)/src/cli/%,$(OBJ))
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
.PHONY: bench-engine
bench-engine: $(OUT)/bench/engine $(OUT)/bench/kernels.bin
	$(OUT)/bench/engine $(OUT)/bench/kernels.bin $(K)

# Nestor against the host and QEMU: make bench, or bench/run with options
$(OUT)/bench/load: bench/load.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) -static -o $@ $< -lm
$(OUT)/bench/runner: bench/runner.c bench/system.c bench/system.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE -O2 $(WARN) -o $@ $(filter %.c,$^) -lm
.PHONY: bench
bench:
	bench/run

# Fuzzers: `make fuzz-WHAT` runs tests/fuzz/WHAT_fuzz.c for a time (see fuzz.h there).
FUZZ_SECONDS ?= 10
fuzz-%: $(OUT)/fuzz/%
	$< -t $(FUZZ_SECONDS)
$(OUT)/fuzz/%: $(OUT)/tests/fuzz/%_fuzz.o $(OUT)/tests/fuzz/main.o $(OUT)/tests/lib/softguest.o $(filter-out $(OUT)/src/cli/%,$(OBJ))
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(OUT)/fuzz/event: $(OUT)/tests/unit/engine/cpu_fixture.o
.PRECIOUS: $(OUT)/tests/fuzz/%.o $(OUT)/fuzz/%

clean:
	rm -rf out nestor

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
