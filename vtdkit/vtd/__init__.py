"""The remapping hardware, as Intel's VT-d specification defines it. It knows no Linux and does no I/O of its own."""
