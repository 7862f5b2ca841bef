"""The notebooks: their rules, their outputs, and how they behave in a browser."""
