# objects of src/dev, one a line
OBJS += src/dev/device.o
OBJS += src/dev/virtio/blk.o
OBJS += src/dev/virtio/console.o
OBJS += src/dev/virtio/pci.o
OBJS += src/dev/virtio/rng.o
OBJS += src/dev/virtio/virtq.o
