"""Lesson 11."""

RIGHT = {
    "PUBLISH": {
        "done twice: await info.write(domain=domain)": "the same is written again, before anybody sees it",
        "lock widened over: await info.write(domain=domain)": "the lock is held for one more store",
    },
}
