"""The VT-d driver, one module per kernel file, as it stood before the series."""
