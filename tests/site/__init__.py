"""The site that runs the lessons in a browser."""
