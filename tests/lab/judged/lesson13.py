"""Lesson 13."""

RIGHT = {
    "PUT_IT_IN": {
        "done twice: await self.domain_flush_cache(domain, 512)": "what is in memory is written once more",
        "swapped: await self.domain_flush_cache(domain, 512) | value: int = page.address | 3": (
            "the value of the entry is only computed"
        ),
        "swapped: if found: | await self.domain_flush_cache(domain, 1)": (
            "who was too late writes the other one's entry back once more"
        ),
    },
}
