"""Lesson 13."""

#: the units of the scenes see the CPU's caches: there is nothing to flush
SEEN = "a unit that sees the caches needs no flush"
RIGHT = {
    "PUT_IT_IN": {
        "swapped: if page is None: | await self.domain_flush_cache(domain, 512)": SEEN,
        "dropped: await self.domain_flush_cache(domain, 512)": SEEN,
        "done twice: await self.domain_flush_cache(domain, 512)": SEEN,
        "swapped: await self.domain_flush_cache(domain, 512) | value: int = page.address | 3": SEEN,
        "512 becomes 513": SEEN,
        "512 becomes 511": SEEN,
    },
}
