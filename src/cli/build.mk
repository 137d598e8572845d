# objects of src/cli, one a line
OBJS += src/cli/main.o
