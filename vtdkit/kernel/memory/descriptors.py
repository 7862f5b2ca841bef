"""`struct page` and its sub-classes: what is kept of each page frame, in 64 bytes, byte by byte.

One page's descriptor means other things for other users of the page, so fields overlap. Two of them count for
whoever collects pages and frees them later: a `list_head` (next, previous) to collect, an `rcu_head` (next,
function) to wait for a grace period.

Offsets in bytes, x86-64 with CONFIG_MEMCG. Mirrors include/linux/mm_types.h (v5.18) and
drivers/iommu/iommu-pages.h (v6.16). Guards: none; a picture in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SIZE = 64  #: bytes of a descriptor


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A layout: field → (offset, bytes)."""

    name: str
    fields: Mapping[str, tuple[int, int]]

    def overlap(self, one: str, other: str) -> bool:
        """Do two fields share bytes?"""
        (first, size), (start, length) = self.fields[one], self.fields[other]
        return first < start + length and start < first + size

    @property
    def size(self) -> int:
        """Bytes, up to the end of the last field."""
        return max(offset + length for offset, length in self.fields.values())

    def __repr__(self) -> str:
        rows = sorted((offset, length, name) for name, (offset, length) in self.fields.items())
        return f"{self.name}: {self.size} bytes" + "".join(
            f"\n  {offset:>2}..{offset + length - 1:<2} {name}" for offset, length, name in rows
        )


_REST = {"flags": (0, 8), "index": (32, 8), "private": (40, 8), "_refcount": (52, 4), "memcg_data": (56, 8)}
_PAGE = {**_REST, "mapping": (24, 8), "_mapcount": (48, 4)}
PAGE = Descriptor("struct page", {**_PAGE, "lru": (8, 16), "rcu_head": (8, 16)})
IOPTDESC = Descriptor(
    "struct ioptdesc",
    {**_REST, "iopt_freelist_elm": (8, 16), "__page_mapping": (24, 8), "__page_type": (48, 4)},
)
#: as Jason Gunthorpe proposed it on 1 June 2022, one after the other; `mapping` must be NULL again at the end
IOMMU_PT_PAGE = Descriptor("struct iommu_pt_page", {**_PAGE, "list_head": (8, 16), "rcu_head": (24, 16)})


def freed_by_one_callback(layout: Descriptor, link: str, pages: int) -> int:
    """How many pages of a list are freed, if the list is handed to RCU by the first page's `rcu_head`.

    The pages are linked by `link`; `call_rcu` writes the `rcu_head`; when the grace period is over, the
    callback finds the first page and goes from page to page.
    """
    words, at, rcu_head = (n // 8 for n in (SIZE, layout.fields[link][0], layout.fields["rcu_head"][0]))
    memory = [0] * words * pages
    for page in range(pages):  # page n is called n + 1; 0 is NULL
        memory[words * page + at : words * page + at + 2] = (page + 1) % pages + 1, (page - 1) % pages + 1
    memory[rcu_head : rcu_head + 2] = 0, 0xFFFF_FFFF_8123_4560  # no callback after this one; the function
    freed, following = 1, memory[at]
    while 1 < following <= pages:
        freed, following = freed + 1, memory[words * (following - 1) + at]
    return freed
