"""The lists, declared: one module per kind of object."""
