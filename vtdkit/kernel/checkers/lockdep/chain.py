"""Chains: what one context holds, as a node of a trie.

The validator does its work once per *chain*, the sequence of locks held, outermost first; the kernel keeps a
hash of the sequence and looks it up, we keep a tree and walk it. Taking a lock that was taken before from the
same chain, the same way, with the same interrupts on, is one dictionary look-up and no check at all. The
caller's whole hot path is

    nxt = ctx.chain.next[ctx.irqstate].get(key)          # take
    if nxt is None: nxt = lockdep.acquire(ctx.chain, ctx.irqstate, key, site)
    ctx.chain = nxt

    if ctx.chain.key == key: ctx.chain = ctx.chain.parent # drop; anything else goes through lockdep.release()

Rules for the caller: a chain is read only; a context starts at `lockdep.root(kind)` and comes back to it; an
interrupt is a context of its own and starts at its own root, whatever it interrupted.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from .classes import LockClass, WaitType
from .keys import IRQSTATES, Taken, how, unpack
from .report import Held


class ContextKind(NamedTuple):
    """The kind of context that starts a chain: which interrupt it is, if any, and how its locks may wait."""

    name: str
    wait: WaitType
    in_hardirq: bool = False
    in_softirq: bool = False


CONTEXTS: dict[str, ContextKind] = {
    kind.name: kind
    for kind in (
        ContextKind("task", WaitType.MAX),
        ContextKind("softirq", WaitType.CONFIG, in_softirq=True),
        ContextKind("hardirq", WaitType.SPIN, in_hardirq=True),
        # A handler that PREEMPT_RT would move to a thread, i.e. one requested without IRQF_NO_THREAD.
        ContextKind("hardirq-threaded", WaitType.CONFIG, in_hardirq=True),
    )
}


class Chain:
    """A node: the locks from the root down to here are held, this one innermost. The root holds nothing.

    `next[irqstate][key]` is the node after taking `key`; `irqs_seen` has a bit for each interrupt state in
    which `irqs_on` has looked at this node; `site` is the first place that made this chain; `depth` counts
    the locks. Guarded by nothing: one machine is one Python thread.
    """

    __slots__ = (
        "children",
        "context",
        "depth",
        "irqs_seen",
        "key",
        "lock",
        "next",
        "parent",
        "site",
        "taken",
    )

    def __init__(
        self,
        context: ContextKind,
        parent: "Chain | None" = None,
        lock: LockClass | None = None,
        key: int = -1,
        site: Hashable = None,
    ) -> None:
        self.context = context
        self.parent = parent
        self.lock = lock
        self.key = key
        self.site = site
        self.taken: Taken = unpack(key)  # of the root: nothing that exists
        self.depth: int = parent.depth + 1 if parent else 0
        self.irqs_seen = 0
        self.children: dict[int, Chain] = {}
        self.next: tuple[dict[int, Chain], ...] = tuple({} for _ in range(IRQSTATES))

    def upwards(self) -> "Iterator[tuple[Chain, LockClass]]":
        """The nodes that stand for a held lock, innermost first, each with its class."""
        node = self
        while node.lock is not None and node.parent is not None:
            yield node, node.lock
            node = node.parent

    def places(self, sites: Sequence[Hashable] = ()) -> list[Hashable]:
        """Where each held lock was taken, outermost first.

        That is `sites` if there is one for each, else the first places of this chain.
        """
        known = [node.site for node, _ in self.upwards()][::-1]
        return list(sites) if len(sites) == len(known) else known

    def held(self, sites: Sequence[Hashable] = ()) -> tuple[Held, ...]:
        """The held locks, outermost first; `sites` as in `places`."""
        nodes = list(self.upwards())[::-1]
        return tuple(
            Held(lock.name, how(node.taken.read, node.taken.trylock), place)
            for (node, lock), place in zip(nodes, self.places(sites), strict=True)
        )
