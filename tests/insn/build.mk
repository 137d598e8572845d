# Which rows of insn.def the tests meet (tests/insn/coverage.c).
$(OUT)/rows: $(OUT)/tests/insn/coverage.o $(filter-out $(OUT)/src/cli/main.o,$(OBJ))
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
.PHONY: coverage-tables
coverage-tables: all tests $(OUT)/rows
	rm -f $(OUT)/rows.seen
	-NESTOR_TRACE=rows=$(abspath $(OUT))/rows.seen tests/run unit/all insn diff guest > $(OUT)/rows.log
	tail -n 1 $(OUT)/rows.log
	$(OUT)/rows $(OUT)/rows.seen tests/insn/uncovered.list
