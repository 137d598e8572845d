# objects of src/engine, one a line
