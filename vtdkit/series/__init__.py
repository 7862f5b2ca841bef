"""The twelve patches, each a class that holds just what it changed, and what mainline made of them."""
