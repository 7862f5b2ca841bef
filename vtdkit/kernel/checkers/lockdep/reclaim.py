"""fs_reclaim: an allocation that may enter a file system, as a lock.

Reclaiming memory may write out file data, and for that take file-system locks. So an allocation that may do
this must not happen inside a reclaim, nor under a lock that the reclaim path takes. The kernel says so with a
lock that nobody ever waits for: reclaim holds it, each allocation that could end in reclaim takes and drops
it (mm/page_alloc.c: fs_reclaim_acquire(), might_alloc()).
"""

from collections.abc import Hashable

from .context import Context
from .validator import Lockdep


def needs_reclaim(
    *, direct_reclaim: bool, fs: bool, nofs_scope: bool = False, memalloc: bool = False
) -> bool:
    """Whether an allocation can end in a reclaim that enters a file system.

    `direct_reclaim`, `fs`: the flags __GFP_DIRECT_RECLAIM and __GFP_FS (GFP_KERNEL has both, GFP_NOFS only
    the first, GFP_ATOMIC neither). `nofs_scope`: between memalloc_nofs_save() and _restore(). `memalloc`: the
    task frees memory itself (PF_MEMALLOC) and never waits for reclaim.
    """
    return direct_reclaim and fs and not nofs_scope and not memalloc


class FsReclaim:
    """The mark itself, on one validator."""

    __slots__ = ("_key",)

    def __init__(self, lockdep: Lockdep) -> None:
        self._key = lockdep.lock_class("fs_reclaim", kind="plain").key()

    def acquire(self, context: Context, site: Hashable) -> None:
        """A reclaim begins in this context."""
        context.take(self._key, site)

    def release(self, context: Context, site: Hashable) -> None:
        """It ends."""
        context.drop(self._key, site)

    def might_alloc(self, context: Context, site: Hashable) -> None:
        """An allocation for which `needs_reclaim` holds is made, whether or not memory is short this time."""
        self.acquire(context, site)
        self.release(context, site)
