# objects of src/base, one a line
OBJS += src/base/log.o
