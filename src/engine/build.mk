# objects of src/engine, one a line
OBJS += src/engine/decode.o
OBJS += src/engine/insn_format.o
OBJS += src/engine/insn_table.o
ifneq ($(wildcard src/engine/exec.c),)
OBJS += src/engine/bcd.o
OBJS += src/engine/event.o
OBJS += src/engine/far.o
OBJS += src/engine/flow.o
OBJS += src/engine/fpu.o
OBJS += src/engine/seg.o
OBJS += src/engine/task.o
OBJS += src/engine/vecmem.o
OBJS += src/engine/xsave.o
OBJS += src/engine/vmx/caps.o
OBJS += src/engine/vmx/checks.o
OBJS += src/engine/vmx/entry.o
OBJS += src/engine/vmx/ept.o
OBJS += src/engine/vmx/exit.o
OBJS += src/engine/vmx/insn.o
OBJS += src/engine/vmx/intercept.o
OBJS += src/engine/vmx/state.o
OBJS += src/engine/vmx/timer.o
OBJS += src/engine/vmx/vmcs.o
endif
