# objects of src/block, one a line
