# objects of src/engine, one a line
OBJS += src/engine/decode.o
OBJS += src/engine/insn_format.o
OBJS += src/engine/insn_table.o
