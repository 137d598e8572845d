# objects of src/cli, one a line
OBJS += src/cli/main.o
OBJS += src/cli/options.o
OBJS += src/cli/probe.o
OBJS += src/cli/run.o
OBJS += src/cli/demo.o
OBJS += src/cli/api.o
OBJS += src/cli/console.o
OBJS += src/cli/manager.o
OBJS += src/cli/shell.o
OBJS += src/cli/top.o
OBJS += src/cli/vmname.o
