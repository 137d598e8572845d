# objects of src/machine, one a line
OBJS += src/machine/acpi.o
OBJS += src/machine/aml.o
OBJS += src/machine/bios.o
OBJS += src/machine/memmap.o
OBJS += src/machine/pc.o
OBJS += src/machine/smbios.o
OBJS += src/machine/elf.o
OBJS += src/machine/linux.o
OBJS += src/machine/loader.o
OBJS += src/machine/multiboot.o
OBJS += src/machine/pvh.o
