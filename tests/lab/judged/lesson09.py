"""Lesson 09."""

RIGHT = {
    "WARN_AND_BE_SAFE": {
        "done twice: await self.free_domain_table(domain)": "the second time there is no table any more",
        "done twice: await info.write(domain=None)": "the same is written again",
    },
}
