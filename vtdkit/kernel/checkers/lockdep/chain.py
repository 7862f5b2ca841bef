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

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .classes import LockClass, WaitType
from .keys import IRQSTATES, how, unpack
from .report import Held
from .usage import HARD_STATE, SOFT_STATE


class ContextKind(NamedTuple):
    """The kind of context that starts a chain: how its locks may wait; which interrupt it is (one of
    `usage.STATES`), if any.
    """

    name: str
    wait: WaitType
    irq: int | None = None


CONTEXTS: dict[str, ContextKind] = {
    kind.name: kind
    for kind in (
        ContextKind("task", WaitType.MAX),
        ContextKind("softirq", WaitType.CONFIG, SOFT_STATE),
        ContextKind("hardirq", WaitType.SPIN, HARD_STATE),
        # A handler that PREEMPT_RT would move to a thread, i.e. one requested without IRQF_NO_THREAD.
        ContextKind("hardirq-threaded", WaitType.CONFIG, HARD_STATE),
    )
}


@dataclass(slots=True, eq=False, repr=False)
class Chain:
    """A node: the locks from the root down to here are held, this one innermost. The root holds nothing.

    `next[irqstate][key]` is the node after taking `key`; `irqs_seen` has a bit for each interrupt state in
    which `irqs_on` has looked at this node; `site` is the first place that made this chain. Guarded by
    nothing: one machine is one Python thread.
    """

    context: ContextKind
    parent: "Chain | None" = None
    lock: LockClass | None = None
    key: int = -1  # of the root: nothing that exists
    site: Hashable = None
    irqs_seen: int = 0
    children: "dict[int, Chain]" = field(default_factory=dict)
    next: "tuple[dict[int, Chain], ...]" = field(default_factory=lambda: tuple({} for _ in range(IRQSTATES)))

    def nodes(self) -> "list[tuple[Chain, LockClass]]":
        """The nodes that stand for a held lock, outermost first, each with its class."""
        return [*self.parent.nodes(), (self, self.lock)] if self.parent and self.lock else []

    def places(self, sites: Sequence[Hashable] = ()) -> list[Hashable]:
        """Where each held lock was taken, outermost first.

        That is `sites` if there is one for each, else the first places of this chain.
        """
        nodes = self.nodes()
        return list(sites) if len(sites) == len(nodes) else [node.site for node, _ in nodes]

    def held(self, sites: Sequence[Hashable] = ()) -> tuple[Held, ...]:
        """The held locks, outermost first; `sites` as in `places`."""
        return tuple(
            Held(lock.name, how(*unpack(node.key)[1:]), place)
            for (node, lock), place in zip(self.nodes(), self.places(sites), strict=True)
        )
