# objects of src/cpu, one a line
OBJS += src/cpu/cpu.o
OBJS += src/cpu/cpuid.o
OBJS += src/cpu/model.o
OBJS += src/cpu/lapic.o
OBJS += src/cpu/lapic_msg.o
OBJS += src/cpu/lapic_timer.o
OBJS += src/cpu/dump.o
OBJS += src/cpu/saved.o
OBJS += src/cpu/trace.o
