"""One module per API group whose versions differ in shape."""
