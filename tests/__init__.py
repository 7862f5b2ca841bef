"""The tests: a mirror of the package, the project itself, and the notebooks."""
