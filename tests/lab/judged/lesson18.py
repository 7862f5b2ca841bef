"""Lesson 18."""

UNDER_THE_LOCK = "all of it is done under the ring's lock: nobody sees what comes first"
FREE = "await queue.iovad.free_iova_fast(pfn, pages)"
RIGHT = {
    "WHEN_IT_MAY_GO": {
        "done twice: await self.put_pages_list(freelist)": "the list is empty after the first time",
        f"swapped: await self.put_pages_list(freelist) | {FREE}": UNDER_THE_LOCK,
        f"swapped: {FREE} | fq.head = (fq.head + 1) % IOVA_FQ_SIZE": UNDER_THE_LOCK,
    },
}
