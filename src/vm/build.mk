# objects of src/vm, one a line
OBJS += src/vm/config.o
OBJS += src/vm/devices.o
OBJS += src/vm/engine.o
OBJS += src/vm/gdb.o
OBJS += src/vm/gdb_regs.o
OBJS += src/vm/host.o
OBJS += src/vm/savefile.o
OBJS += src/vm/serial.o
OBJS += src/vm/snapshot.o
OBJS += src/vm/terminal.o
OBJS += src/vm/vcpu.o
OBJS += src/vm/vm.o
