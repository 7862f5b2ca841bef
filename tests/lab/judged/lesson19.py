"""Lesson 19."""

RIGHT = {"LOOK_AND_CLEAR": {"3 becomes 2": "a page that is read only is never dirty"}}
