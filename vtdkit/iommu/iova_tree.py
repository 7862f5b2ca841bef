"""The ranges of an IOVA domain in order of address: what `struct rb_root rbroot`
of drivers/iommu/iova.c is for.

Linux keeps the ranges in a red-black tree and walks it from the top down. Here they stand in two parallel
lists, highest address first, found by bisection. New ranges are nearly always the lowest, so they go in
at the lists' end, where that costs nothing; taking one out of the middle of 100,000 moves 800 KB, about
20 µs of Python. A tree of objects would be slower at every size a driver reaches.

No lock and no machine here: whoever owns the tree guards it (`iova_rbtree_lock`).
"""

from __future__ import annotations

from bisect import bisect_left

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.objects import KObject

IOVA_ANCHOR = (1 << 64) - 1  #: the page frame of the range that stands above all others


class iova(KObject):
    """`struct iova`: a range of page frames, `pfn_lo` to `pfn_hi`, both
    included. Guards: `iova_rbtree_lock`.
    """

    def __init__(self, machine: Machine, pfn_lo: int = 0, pfn_hi: int = 0) -> None:
        super().__init__(machine, "iova")
        self.pfn_lo = pfn_lo
        self.pfn_hi = pfn_hi


class IovaTree:
    """Ranges that do not overlap, the highest first. Positions count from there: the next lower range is
    at `index + 1`.
    """

    __slots__ = ("_keys", "nodes")

    def __init__(self, anchor: iova) -> None:
        self.nodes = [anchor]
        self._keys = [-anchor.pfn_lo]

    def index(self, node: iova) -> int:
        """Where a range of the tree stands."""
        return bisect_left(self._keys, -node.pfn_lo)

    def below(self, pfn: int) -> int:
        """The position of the highest range that begins at `pfn` or below it (one past the last
        if there is none).
        """
        return bisect_left(self._keys, -pfn)

    def find(self, pfn: int) -> iova | None:
        """The range that contains a page frame."""
        at = self.below(pfn)
        return self.nodes[at] if at < len(self.nodes) and pfn <= self.nodes[at].pfn_hi else None

    def higher(self, node: iova) -> iova:
        """`rb_next`: the range above; the anchor is above all."""
        return self.nodes[max(self.index(node) - 1, 0)]

    def insert(self, node: iova) -> None:
        """Put a range where its address says."""
        at = self.below(node.pfn_lo)
        self._keys.insert(at, -node.pfn_lo)
        self.nodes.insert(at, node)

    def remove(self, node: iova) -> None:
        """Take a range out."""
        at = self.index(node)
        del self._keys[at], self.nodes[at]
