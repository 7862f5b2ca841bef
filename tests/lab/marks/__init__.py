"""Marks of a class: notebooks as students hand them in."""
