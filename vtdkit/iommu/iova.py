"""Addresses for DMA: drivers/iommu/iova.c around v5.19, the allocator behind the DMA API.

An `iova_domain` hands out ranges of page frames, highest first, each aligned to its size rounded up
to a power of two. It remembers where the last range below 4 GiB and the last range above went, and
begins its search there; a search that fails below 4 GiB is remembered too, so that the next one of
that size fails at once. In front of the tree stand the per-CPU caches (`iova_rcache`), and
`alloc_iova_fast` is what everybody calls.

Rules: any context may call any function here but `iova_domain_init_rcaches` and `put_iova_domain`; a
range is freed with the size it was asked for. Sizes and addresses are in page frames.
"""

from __future__ import annotations

from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.gfp import GFP_ATOMIC, GFP_KERNEL
from vtdkit.kernel.memory.objects import KObject, shared

from . import iova_rcache as cache
from .errno import ENOMEM
from .iova_tree import IOVA_ANCHOR, IovaTree, iova
from .pinning import PAGE_SHIFT


class iova_domain(KObject):
    """`struct iova_domain`: one space of addresses.

    Guards: `iova_rbtree_lock` (spin, interrupts off): `rbroot` and the ranges in it,
    `cached_node`, `cached32_node`, `max32_alloc_size`. Written once: `start_pfn`,
    `dma_32bit_pfn`, `rcaches`, `mag_size`.
    """

    rbroot = shared()
    cached_node = shared()
    cached32_node = shared()
    max32_alloc_size = shared(0)

    def __init__(self, machine: Machine, mag_size: int = cache.IOVA_MAG_SIZE) -> None:
        """`init_iova_domain`: no range taken yet; page frame 0 never will be."""
        super().__init__(machine, "iova_domain")
        self.iova_rbtree_lock = machine.spinlock("&iovad->iova_rbtree_lock")
        self.start_pfn = 1
        self.mag_size = mag_size
        self.dma_32bit_pfn = 1 << 32 - PAGE_SHIFT
        self.rcaches: cache.iova_rcaches = None  # type: ignore[assignment]  # until it has some
        anchor = iova(machine, IOVA_ANCHOR, IOVA_ANCHOR)
        self.rbroot = IovaTree(anchor)
        self.cached_node = self.cached32_node = anchor
        self.max32_alloc_size = self.dma_32bit_pfn

    # -- where a search begins -----------------------------------------------

    def _get_cached_rbnode(self, limit_pfn: int) -> iova:
        """`__get_cached_rbnode`: the range to search down from."""
        return self.cached32_node if limit_pfn <= self.dma_32bit_pfn else self.cached_node  # type: ignore[no-any-return]

    def _cached_rbnode_insert_update(self, new: iova) -> None:
        """`__cached_rbnode_insert_update`."""
        if new.pfn_hi < self.dma_32bit_pfn:
            self.cached32_node = new
        else:
            self.cached_node = new

    def _cached_rbnode_delete_update(self, free: iova) -> None:
        """`__cached_rbnode_delete_update`: a hole opens at or above the remembered place, so the
        search begins above it.
        """
        cached: iova = self.cached32_node
        if free is cached or (free.pfn_hi < self.dma_32bit_pfn and free.pfn_lo >= cached.pfn_lo):
            self.cached32_node = self.rbroot.higher(free)
        if free.pfn_lo < self.dma_32bit_pfn:
            self.max32_alloc_size = self.dma_32bit_pfn
        if free.pfn_lo >= self.cached_node.pfn_lo:
            self.cached_node = self.rbroot.higher(free)

    # -- the tree ------------------------------------------------------------

    async def alloc_iova(self, size: int, limit_pfn: int, size_aligned: bool = True) -> iova | None:
        """A new range of `size` pages, the highest that ends at `limit_pfn` or below; None when there is
        none, or no memory.
        """
        new: iova | None = await self.machine.kmalloc(iova, gfp=GFP_ATOMIC)
        if new is None:
            return None
        if await self._alloc_and_insert_iova_range(size, limit_pfn + 1, new, size_aligned):
            await self.machine.kfree(new)
            return None
        return new

    async def _alloc_and_insert_iova_range(
        self, size: int, limit_pfn: int, new: iova, size_aligned: bool
    ) -> int:
        """`__alloc_and_insert_iova_range`: search down from the remembered place, then once more from the
        top. 0 or -ENOMEM.
        """
        align = 1 << cache.order_base_2(size) if size_aligned else 1
        async with self.iova_rbtree_lock.irqsave():
            if limit_pfn <= self.dma_32bit_pfn and size >= self.max32_alloc_size:
                return -ENOMEM
            tree: IovaTree = self.rbroot
            start = self._get_cached_rbnode(limit_pfn)
            pfn = await self._search(tree, tree.index(start), size, align, self.start_pfn, limit_pfn)
            if pfn is None and start.pfn_hi < limit_pfn:
                # `iova_find_limit`: the lowest range above the limit
                top = max(tree.below(limit_pfn) - 1, 0)
                pfn = await self._search(tree, top, size, align, start.pfn_hi + 1, limit_pfn)
            if pfn is None:
                self.max32_alloc_size = size
                return -ENOMEM
            new.pfn_lo, new.pfn_hi = pfn, pfn + size - 1
            tree.insert(new)
            self.rbroot = tree
            self._cached_rbnode_insert_update(new)
        return 0

    async def _search(
        self, tree: IovaTree, index: int, size: int, align: int, low_pfn: int, high_pfn: int
    ) -> int | None:
        """The first gap below the range at `index` that holds `size` pages; each range passed is
        a step of memory.
        """
        first, nodes = index, tree.nodes
        while True:
            high_pfn = min(high_pfn, nodes[index].pfn_lo)
            pfn = high_pfn - size & -align
            index += 1
            if pfn < low_pfn or index == len(nodes) or pfn > nodes[index].pfn_hi:
                break
        await self.machine.work(self.machine.costs.table_word * (index - first))
        return pfn if pfn >= low_pfn else None

    def remove_iova(self, node: iova) -> None:
        """Take a range out. Caller holds `iova_rbtree_lock`."""
        self.iova_rbtree_lock.assert_spin_locked()
        self._cached_rbnode_delete_update(node)
        tree: IovaTree = self.rbroot
        tree.remove(node)
        self.rbroot = tree

    async def free_iova(self, pfn: int) -> None:
        """Give back the range that contains a page frame."""
        async with self.iova_rbtree_lock.irqsave():
            node = self.rbroot.find(pfn)
            if node is not None:
                self.remove_iova(node)
        if node is not None:
            await self.machine.kfree(node)

    async def iova_magazine_free_pfns(self, mag: cache.iova_magazine) -> None:
        """Give back every range in a magazine, under one hold of the tree's lock."""
        async with self.iova_rbtree_lock.irqsave():
            for pfn in mag.pfns:
                node = self.rbroot.find(pfn)
                self.machine.warn_on(node is None, "a magazine holds a range the tree does not know")
                if node is not None:
                    self.remove_iova(node)
                    await self.machine.kfree(node)
        mag.pfns.clear()

    async def reserve_iova(self, pfn_lo: int, pfn_hi: int) -> iova | None:
        """Make sure that none of these page frames is ever handed out. None of them is taken yet, which Linux
        does not ask for.
        """
        new: iova | None = await self.machine.kmalloc(iova, gfp=GFP_ATOMIC)
        if new is None:
            return None
        async with self.iova_rbtree_lock.irqsave():
            tree: IovaTree = self.rbroot
            new.pfn_lo, new.pfn_hi = pfn_lo, pfn_hi
            tree.insert(new)
            self.rbroot = tree
        return new

    # -- the usual way -------------------------------------------------------

    async def iova_domain_init_rcaches(self) -> int:
        """Per-CPU caches for this domain: two empty magazines for each CPU and size class. 0 or -ENOMEM, and
        then nothing is left behind. May sleep.
        """
        rcaches = self.rcaches = await self.machine.kmalloc(cache.iova_rcaches)
        if rcaches is None:
            return -ENOMEM
        for cpu_rcache in [cpu_rcache for rcache in rcaches.of_order for cpu_rcache in rcache.of_cpu]:
            cpu_rcache.loaded = await self.machine.kmalloc(cache.iova_magazine, gfp=GFP_KERNEL)
            cpu_rcache.prev = await self.machine.kmalloc(cache.iova_magazine, gfp=GFP_KERNEL)
            if cpu_rcache.loaded is None or cpu_rcache.prev is None:
                await cache.free_iova_rcaches(self)
                return -ENOMEM
        return 0

    async def alloc_iova_fast(self, size: int, limit_pfn: int, flush_rcache: bool = True) -> int:
        """The first page frame of a range, from this CPU's cache or the tree; 0 when there is none.

        `flush_rcache`: if the tree has none, empty all caches into it and try once more.
        """
        if size < 1 << cache.IOVA_RANGE_CACHE_MAX_SIZE - 1:
            size = 1 << cache.order_base_2(
                size
            )  # so that what is freed into a size class fits whoever takes it out
        if pfn := await cache.iova_rcache_get(self, size, limit_pfn + 1):
            return pfn
        new = await self.alloc_iova(size, limit_pfn)
        if new is None and flush_rcache and self.rcaches is not None:
            for cpu in range(len(self.machine.cpus)):
                await cache.free_cpu_cached_iovas(self, cpu)
            await cache.free_global_cached_iovas(self)
            new = await self.alloc_iova(size, limit_pfn)
        return new.pfn_lo if new is not None else 0

    async def free_iova_fast(self, pfn: int, size: int) -> None:
        """Give a range back, into this CPU's cache if it fits one."""
        if not await cache.iova_rcache_insert(self, pfn, size):
            await self.free_iova(pfn)

    async def put_iova_domain(self) -> None:
        """The end of the domain: caches and ranges are freed. Nobody may use it any more."""
        await cache.free_iova_rcaches(self)
        for node in self.rbroot.nodes[1:]:
            await self.machine.kfree(node)

    def cached(self) -> list[int]:
        """The page frames of the ranges that lie in caches, free for the next user: for observers."""
        magazines = self.rcaches.magazines() if self.rcaches is not None else []
        return sorted(pfn for mag in magazines for pfn in mag.pfns)
