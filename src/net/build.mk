# objects of src/net, one a line
