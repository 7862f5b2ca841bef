"""Who runs: contexts (tasks, interrupt handlers, agents) and the CPUs they run on.

A *context* is one coroutine with the state Linux keeps beside a thread: whether interrupts and softirqs
are off, the preemption count, the locks it holds. An interrupt handler is a context of its own that sits
on top of whatever its CPU was running; the one below stands still until the handler has ended. An *agent*
is not a CPU's work at all: a piece of hardware, a timer; it has no lock and cannot be interrupted.

Guards: everything here belongs to the engine (one Python thread); only the running context
changes its own record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vtdkit.kernel.checkers.lockdep.chain import Chain
from vtdkit.kernel.record.sites import Spot

HARD_OFF = 1  #: bit of `Context.irqstate`: hard interrupts are off
SOFT_OFF = 2  #: bit of `Context.irqstate`: softirqs are off (`_bh`), or we are in one

TASK, SOFTIRQ, HARDIRQ, AGENT = "task", "softirq", "hardirq", "agent"


class Context:
    """One thread of execution. `name` is its name for people, `id` its number in creation order.

    All fields are the engine's; a driver reads none of them.
    """

    __slots__ = (
        "below",
        "bh_count",
        "blocker",
        "bounced",
        "chain",
        "coro",
        "cpu",
        "cpu_id",
        "disposable",
        "done",
        "due",
        "epoch",
        "error",
        "id",
        "innermost",
        "irqstate",
        "kind",
        "late",
        "looked",
        "looks",
        "name",
        "off_since",
        "pinned",
        "preempt",
        "preempt_site",
        "rcu",
        "result",
        "send",
        "since",
        "spot",
        "stands_since",
        "suspended",
        "tick",
        "unsettled",
        "vc",
        "waiting",
    )

    def __init__(self, ident: int, name: str, kind: str, chain: Chain) -> None:
        self.id = ident
        self.name = name
        self.kind = kind
        self.coro: Any = None  # nobody's while it is set-up that runs, or a plain function
        self.send: Callable[[None], int | None]  # there before its first step
        self.cpu: Cpu | None = None
        self.cpu_id = -1
        self.pinned = True
        self.disposable = False  # nobody keeps this record: it may be used again once it has ended
        self.irqstate = {HARDIRQ: HARD_OFF | SOFT_OFF, SOFTIRQ: SOFT_OFF}.get(kind, 0)
        self.bh_count = 0
        self.preempt = 0
        self.preempt_site: Spot | None = None  # where `preempt_disable` was called last
        self.off_since: tuple[int, Spot | None] = (0, None)
        self.chain = chain  # what it holds, as the lock validator remembers it
        self.innermost: Any = None  # the lock (or share of one) taken last, see `held`
        self.rcu = 0
        self.waiting: Any = None  # what it spins or sleeps for
        self.since = 0  # when the present wait began
        self.spot: Any = None  # where it waits for a lock,
        self.blocker: Any = None  # where that lock's owner had taken it when the wait began,
        self.bounced = False  # and whether the lock had last been taken on another CPU
        self.unsettled: Any = None  # a spin lock that it was given while it stood still
        self.suspended = False  # an interrupt sits on it, or it was preempted
        self.stands_since = 0  # when that began
        self.due: int | None = None  # its time came while an interrupt sat on its CPU
        self.late = 0  # work still owed once it may go on
        self.looks = 0  # how often it has looked at something and gone on at once,
        self.looked = 0  # in a row that ended at this instant, see `Engine.beat`
        self.below: Context | None = None  # what an interrupt handler interrupted
        self.vc: dict[int, int] | None = None
        self.tick = 0  # how often it has advanced its clock
        self.epoch = 0  # its clock's count when it last ended, if this record was used before
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None

    def __repr__(self) -> str:
        where = "" if self.cpu is None else f" on CPU{self.cpu_id}"
        alive = "runnable" if self.waiting is None else f"waiting for {self.waiting}"
        return f"<{self.kind} {self.name}{where}: {'done' if self.done else alive}>"

    @property
    def held(self) -> list[Any]:
        """The locks (and shares of locks) it holds, innermost last: each has a `name`, a `place`, a
        `lock`, and one `below`.

        They are kept as a chain through the locks themselves, which costs two assignments a lock; this
        list is made on demand.
        """
        holds, hold = [], self.innermost
        while hold is not None:
            holds.append(hold)
            hold = hold.below
        return holds[::-1]

    def let_go(self, hold: Any) -> None:
        """Take a hold out of the chain, wherever it is in it."""
        if self.innermost is hold:
            self.innermost = hold.below
        else:
            above = self.innermost
            while above.below is not hold:
                above = above.below
            above.below = hold.below
        hold.below = None


@dataclass(slots=True, eq=False, repr=False)
class Cpu:
    """One CPU. `top` is the context that owns it now (an interrupt handler, or the task
    below), None when idle.

    `pending` is true when something waits for this CPU to open up: hard interrupts (`irqs`),
    softirqs (`softirqs`) or a thread whose turn has come (`resched`). The unlock and enable paths
    look at this one flag.
    """

    id: int
    socket: int
    top: Context | None = None
    task: Context | None = None
    queue: deque[Context] = field(default_factory=deque)
    irqs: deque[Any] = field(default_factory=deque)
    softirqs: deque[Any] = field(default_factory=deque)
    resched: bool = False
    slice_armed: bool = False
    pending: bool = False
    vc: dict[int, int] | None = None  # what interrupts-off stretches and handlers here have published
    known_to: dict[int, int] | None = None  # a clock that has all that in it

    def update_pending(self) -> None:
        """Recompute `pending` from what waits."""
        self.pending = bool(self.irqs or self.softirqs or self.resched)

    def __repr__(self) -> str:
        return f"<CPU{self.id}: {self.top.name if self.top else 'idle'}>"
