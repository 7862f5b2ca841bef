"""One flow of control as the validator sees it, and what only its caller can tell.

The simulator keeps `chain` and `irqstate` in its own context objects (and notices bad unlocks itself); this
one is for the self-test and for trying things out by hand:

    lockdep = Lockdep(print)
    a, b = (lockdep.lock_class(name).key() for name in "ab")
    task = Context(lockdep)
    task.take(a, "here"); task.take(b, "there"); task.drop(b, "there"); task.drop(a, "here")
"""

from collections.abc import Hashable

from vtdkit.kernel.checkers.lockdep.chain import Chain
from vtdkit.kernel.checkers.lockdep.classes import LockClass
from vtdkit.kernel.checkers.lockdep.findings import Attempt
from vtdkit.kernel.checkers.lockdep.keys import EXCLUSIVE, HARDIRQS_OFF, SOFTIRQS_OFF, unpack
from vtdkit.kernel.checkers.lockdep.usage import HARD_STATE, SOFT_STATE
from vtdkit.kernel.checkers.lockdep.validator import Lockdep

BAD_UNLOCK = "bad unlock balance detected!"
HELD_FREED = "held lock freed!"


def tell(lockdep: Lockdep, kind: str, chain: Chain, lock: LockClass, site: Hashable) -> None:
    """Report what the validator cannot see: it knows classes, not the very lock."""
    attempt = Attempt(chain, None, lock, EXCLUSIVE, False, site)
    lockdep._once((kind, lock.id, site), kind, attempt, [kind])


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
        own = {HARD_STATE: HARDIRQS_OFF, SOFT_STATE: SOFTIRQS_OFF}.get(self.chain.context.irq, 0)
        self.irqstate = own if irqstate is None else irqstate

    def take(self, key: int, site: Hashable) -> None:
        """Take a lock."""
        chain = self.chain.next[self.irqstate].get(key)
        if chain is None:
            chain = self.lockdep.acquire(self.chain, self.irqstate, key, site, self.sites)
        self.chain = chain
        self.sites.append(site)

    def drop(self, key: int, site: Hashable) -> None:
        """Let go of the innermost lock taken with this key; of one that is not held, that is a bad unlock."""
        chain = self.chain
        keys = [node.key for node, _ in chain.nodes()[::-1]]
        if key not in keys:
            tell(self.lockdep, BAD_UNLOCK, chain, self.lockdep._classes[unpack(key).class_id], site)
            return
        if chain.key == key and chain.parent is not None:
            self.chain = chain.parent
        else:
            self.chain = self.lockdep.release(chain, key, site, self.sites)
        del self.sites[-1 - keys.index(key)]

    def holds(self, lock: LockClass) -> bool:
        """Whether a lock of this class is held."""
        return any(held is lock for _, held in self.chain.nodes())

    def set_irqs(self, irqstate: int, site: Hashable) -> None:
        """Hard and soft interrupts are now as `irqstate` says."""
        switched_on = self.irqstate & ~irqstate
        self.irqstate = irqstate
        if switched_on:
            self.lockdep.irqs_on(self.chain, irqstate, site, self.sites)

    def __repr__(self) -> str:
        held = ", ".join(lock.lock for lock in self.chain.held())
        return f"<Context {self.chain.context.name}: {held or 'nothing held'}>"
