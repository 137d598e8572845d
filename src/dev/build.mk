# objects of src/dev, one a line
OBJS += src/dev/acpi_pm.o
OBJS += src/dev/debug_exit.o
OBJS += src/dev/device.o
OBJS += src/dev/virtio/blk.o
OBJS += src/dev/virtio/console.o
OBJS += src/dev/virtio/pci.o
OBJS += src/dev/virtio/rng.o
OBJS += src/dev/virtio/virtq.o
OBJS += src/dev/hpet.o
OBJS += src/dev/i8042.o
OBJS += src/dev/i8254.o
OBJS += src/dev/i8259.o
OBJS += src/dev/ioapic.o
OBJS += src/dev/mc146818.o
OBJS += src/dev/q35.o
OBJS += src/dev/uart16550.o
OBJS += src/dev/virtio/net.o
