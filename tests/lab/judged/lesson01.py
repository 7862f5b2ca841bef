"""Lesson 01."""

RIGHT = {
    "KEEP_IT_ALIVE": {
        "lock widened over: return 0": "the value is known; the mutex makes no difference",
    },
}
