"""Plays the steps of a self-test case on a validator, as a machine would: an interrupt is its own context."""

from collections.abc import Callable, Iterable

from lockdep_flow import HELD_FREED, Context, tell

from vtdkit.kernel.checkers.lockdep.keys import (
    EXCLUSIVE,
    HARDIRQS_OFF,
    READ,
    RECURSIVE,
    SOFTIRQS_OFF,
    queued_read,
)
from vtdkit.kernel.checkers.lockdep.report import Report
from vtdkit.kernel.checkers.lockdep.validator import Lockdep

KINDS = {
    "spin": ("spinlock", EXCLUSIVE),
    "raw": ("raw_spinlock", EXCLUSIVE),
    "write": ("rwlock", EXCLUSIVE),
    "read": ("rwlock", RECURSIVE),
    "mutex": ("mutex", EXCLUSIVE),
    "wsem": ("rwsem", EXCLUSIVE),
    "rsem": ("rwsem", READ),
    "rtmutex": ("rtmutex", EXCLUSIVE),
    "local": ("local_lock", EXCLUSIVE),
}
RCU = {"rcu(": "rcu", "rcubh(": "rcu_bh", "rcusched(": "rcu_sched"}
SWITCHES = {
    "irq-": (HARDIRQS_OFF, 0),
    "irq+": (0, HARDIRQS_OFF),
    "bh-": (SOFTIRQS_OFF, 0),
    "bh+": (0, SOFTIRQS_OFF),
}

Make = Callable[[Callable[[Report], None]], Lockdep]


class Player:
    """`queued`: rwlock readers queue outside interrupts; else all are recursive, as mostly there."""

    def __init__(self, make: Make = Lockdep, queued: bool = False) -> None:
        self.reports: list[Report] = []
        self.lockdep = make(self.reports.append)
        self.queued = queued
        self.stack = [Context(self.lockdep)]
        self.steps = 0
        self.taken: list[tuple[Context, tuple[str, ...], int]] = []

    @property
    def context(self) -> Context:
        return self.stack[-1]

    def site(self, words: Iterable[str]) -> str:
        self.steps += 1
        return f"step {self.steps} ({' '.join(words)})"

    def key(self, name: str, how: str) -> int:
        kind, read = KINDS[how]
        if how == "read" and self.queued:
            context = self.context.chain.context
            read = queued_read(context.irq is not None, self.context.irqstate)
        return self.lockdep.lock_class(f"{kind} {name[0]}", kind=kind).key(read)

    def key_taken(self, words: tuple[str, ...]) -> int:
        """The key with which this context took the lock, or would."""
        for at in reversed(range(len(self.taken))):
            if self.taken[at][:2] == (self.context, words):
                return self.taken.pop(at)[2]
        return self.key(*words)

    def play(self, steps: Iterable[tuple[str, ...]]) -> list[Report]:
        for step in steps:
            self.step(*step)
        return self.reports

    def step(self, op: str, *words: str) -> None:
        site = self.site([op, *words])
        if op == "acq":
            key = self.key(*words)
            self.taken.append((self.context, words, key))
            self.context.take(key, site)
        elif op == "rel":
            self.context.drop(self.key_taken(words), site)
        elif op == "init":
            kind = KINDS[words[1]][0]
            lock = self.lockdep.lock_class(f"{kind} {words[0][0]}", kind=kind)
            if self.context.holds(lock):  # the one lock of its class in these cases
                tell(self.lockdep, HELD_FREED, self.context.chain, lock, site)
        elif op in SWITCHES:
            on, off = SWITCHES[op]
            self.context.set_irqs(self.context.irqstate & ~off | on, site)
        elif op.endswith(")") and op in ("hard)", "soft)"):
            self.stack.pop()
        elif op == "hard(":
            self.stack.append(
                Context(self.lockdep, "hardirq" if words == ("not threaded",) else "hardirq-threaded")
            )
        elif op == "soft(":
            self.stack.append(Context(self.lockdep, "softirq", irqstate=HARDIRQS_OFF | SOFTIRQS_OFF))
        else:
            kind = RCU[op.replace(")", "(")]
            key = self.lockdep.lock_class(kind, kind=kind).key(RECURSIVE)
            (self.context.take if op.endswith("(") else self.context.drop)(key, site)
