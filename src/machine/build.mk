# objects of src/machine, one a line
OBJS += src/machine/memmap.o
