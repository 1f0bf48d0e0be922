"""Which open dimensions are the same, and what shape computations make of them."""
