"""Lesson 04."""

RIGHT = {
    "ASK_NOBODY": {},
}
