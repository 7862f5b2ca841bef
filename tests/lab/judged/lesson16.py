"""Lesson 16."""

LATER = "the callback runs after this function, whatever stands in which order"
RIGHT = {
    "FREE_LATER": {
        "done twice: freelist.clear()": "an empty list stays empty",
        "swapped: freelist.clear() | if not pages:": "an empty list is empty already",
        "swapped: if not pages: | async def free() -> None:": "a function that nobody calls",
        "swapped: async def free() -> None: | self.waiting += len(pages)": LATER,
        "swapped: self.waiting += len(pages) | self.machine.rcu.call(free, 'free_pages_rcu')": LATER,
        "swapped: for page in pages: | self.waiting -= len(pages)": "nobody looks in between",
    },
}
