"""Lesson 12."""

RIGHT: dict[str, dict[str, str]] = {"HOW_TO_TAKE": {}}
