# objects of src/block, one a line
OBJS += src/block/blockdev.o
OBJS += src/block/raw.o
