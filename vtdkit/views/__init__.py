"""Figures (matplotlib) and widgets (anywidget), each a function of a record."""
