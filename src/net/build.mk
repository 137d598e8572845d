# objects of src/net, one a line
OBJS += src/net/hostfwd.o
OBJS += src/net/user.o
