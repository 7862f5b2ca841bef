"""Lesson 17."""

READERS = "readers = {'look up', 'dirty read'}"
APART = "apart = one[1] + one[2] <= two[1] or two[1] + two[2] <= one[1]"
RIGHT = {
    "WHO_MAY_MEET": {
        f"swapped: {READERS} | {APART}": "neither line uses the other's value",
    },
}
