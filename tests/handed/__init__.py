"""Handouts in browsers: those of other makers than chromium, and what a class is asked to do with them."""
