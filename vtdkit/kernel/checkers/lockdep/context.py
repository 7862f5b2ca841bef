"""One flow of control as the validator sees it: for callers that do not write the hot path out themselves.

The simulator keeps `chain` and `irqstate` in its own context objects; this one is for the
self-test and for trying things out by hand:

    lockdep = Lockdep(print)
    a, b = (lockdep.lock_class(name).key() for name in "ab")
    task = Context(lockdep)
    task.take(a, "here"); task.take(b, "there"); task.drop(b, "there"); task.drop(a, "here")
"""

from collections.abc import Hashable

from .chain import Chain
from .keys import HARDIRQS_OFF, SOFTIRQS_OFF
from .validator import Lockdep


class Context:
    """A task or an interrupt: what it holds (`chain`), where it took that (`sites`), its interrupt state.

    While an interrupt is handled, those of its sort are off: a hard interrupt starts with hard ones off, a
    soft one with soft ones off. Used by one flow of control, so nothing guards the fields.
    """

    __slots__ = ("chain", "irqstate", "lockdep", "sites")

    def __init__(self, lockdep: Lockdep, kind: str = "task", *, irqstate: int | None = None) -> None:
        self.lockdep = lockdep
        self.chain: Chain = lockdep.root(kind)
        self.sites: list[Hashable] = []
        own = HARDIRQS_OFF * self.chain.context.in_hardirq | SOFTIRQS_OFF * self.chain.context.in_softirq
        self.irqstate = own if irqstate is None else irqstate

    def take(self, key: int, site: Hashable) -> None:
        """Take a lock."""
        chain = self.chain.next[self.irqstate].get(key)
        if chain is None:
            chain = self.lockdep.acquire(self.chain, self.irqstate, key, site, self.sites)
        self.chain = chain
        self.sites.append(site)

    def drop(self, key: int, site: Hashable) -> None:
        """Let go of the innermost lock taken with this key."""
        chain, parent = self.chain, self.chain.parent
        if parent is not None and chain.key == key:
            self.chain = parent
        else:
            self.chain = self.lockdep.release(chain, key, site, self.sites)
        keys = [node.key for node, _ in chain.upwards()]
        if key in keys:
            del self.sites[-1 - keys.index(key)]

    def set_irqs(self, irqstate: int, site: Hashable) -> None:
        """Hard and soft interrupts are now as `irqstate` says."""
        switched_on = self.irqstate & ~irqstate
        self.irqstate = irqstate
        if switched_on:
            self.lockdep.irqs_on(self.chain, irqstate, site, self.sites)

    def __repr__(self) -> str:
        held = ", ".join(lock.lock for lock in self.chain.held())
        return f"<Context {self.chain.context.name}: {held or 'nothing held'}>"
