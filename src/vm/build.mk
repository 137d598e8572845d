# objects of src/vm, one a line
