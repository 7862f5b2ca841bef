"""Lesson 00."""

RIGHT = {
    "BE_THE_HARDWARE": {
        "swapped: if not entry & 3: | table = entry & ADDRESS": "nobody uses the address of an absent entry",
    },
}
