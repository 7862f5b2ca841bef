"""Lesson 12."""

RIGHT = {"HOW_TO_TAKE": {"returns None: return": "the same in other words"}}
