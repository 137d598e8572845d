# objects of src/machine, one a line
