"""Lesson 15."""

AGAIN = "what is done already does no harm"
MORE = "a flush may take more than it must, and takes whole pages"
WHOLE = "the unit forgets a block as a whole, whichever of its addresses it is told"
RIGHT = {
    "TAKE_IT_OUT": {
        "done twice: await table.store(index, 0)": AGAIN,
        "done twice: await self.tlb_add_page(gather, iova, 4096 if level == 3 else 2097152)": AGAIN,
        "done twice: await self.walker.invalidate(iova, iova + 2097151)": AGAIN,
        "test is always False: level == 3": MORE,
        "3 becomes 4": MORE,
        "test is always True: level == 3": WHOLE,
        "another comparison: level == 3": WHOLE,
        "3 becomes 2": WHOLE,
        "4096 becomes 4097": MORE,
        "4096 becomes 4095": MORE,
        "2097152 becomes 2097153": MORE,
        "2097152 becomes 2097151": MORE,
        "2097151 becomes 2097152": MORE,
        "2097151 becomes 2097150": MORE,
        "1 becomes 2": "a table of pages has none below it",
    },
}
