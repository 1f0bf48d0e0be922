"""The commands, one file each. A command turns its options into values and calls one function."""
