# objects of src/kvm, one a line
