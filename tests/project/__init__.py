"""The project itself: metadata, commands, layout."""
