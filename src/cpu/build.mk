# objects of src/cpu, one a line
