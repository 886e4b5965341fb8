// A library of those that the real libcudnn.so.9 opens when it is used. The fake one has all in itself.
