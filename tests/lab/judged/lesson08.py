"""Lesson 08."""

RIGHT: dict[str, dict[str, str]] = {"NO_MORE_HANGING": {}}
