# objects of src/bus, one a line
