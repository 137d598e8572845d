# objects of src/dev, one a line
OBJS += src/dev/device.o
