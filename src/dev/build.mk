# objects of src/dev, one a line
