# objects of src/shell and src/shell/cmdlets, one a line
OBJS += src/shell/ast.o
OBJS += src/shell/lex.o
OBJS += src/shell/number.o
OBJS += src/shell/parse.o
OBJS += src/shell/parse_command.o
OBJS += src/shell/parse_expr.o
OBJS += src/shell/text.o
