# objects of src/base, one a line
OBJS += src/base/log.o
OBJS += src/base/loop.o
OBJS += src/base/state.o
OBJS += src/base/sha256.o
OBJS += src/base/novec.o
OBJS += $(if $(filter tsan,$(MODE)),src/base/novec_tsan.o)
OBJS += src/base/hostmem.o
