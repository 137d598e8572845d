# objects of src/bus, one a line
OBJS += src/bus/io.o
OBJS += src/bus/irq.o
OBJS += src/bus/mem.o
OBJS += src/bus/pci.o
