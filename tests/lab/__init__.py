"""Experiments and what the notebooks call."""
