# Random programs on the host CPU and on the engine (tests/diff/main.c): out/MODE/diff.
DIFF_SRC := $(wildcard tests/diff/*.c) tests/lib/softguest.c tests/lib/insn_gen.c
DIFF_OBJ := $(DIFF_SRC:%.c=$(OUT)/%.o)
TESTS += $(OUT)/diff
$(OUT)/diff: $(DIFF_OBJ) $(filter-out $(OUT)/src/cli/main.o,$(OBJ))
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
# The handler of signals runs while FS is a program's until it has been put back.
$(OUT)/tests/diff/native.o: CFLAGS += -fno-stack-protector
