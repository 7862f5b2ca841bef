"""Lesson 05."""

RIGHT = {
    "TAKE_IT_AWAY_FIRST": {
        "lock widened over: if root is None:": "the lock is held for one more comparison",
        "4095 becomes 4094": "the lowest bit of an entry is no part of the page's number",
    },
}
