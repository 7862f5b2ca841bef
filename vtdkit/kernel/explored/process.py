"""One explored thread of control, as the explorer drives it."""

from __future__ import annotations

from typing import Any

from vtdkit.kernel.machine.context import HARD_OFF, HARDIRQ, SOFTIRQ, TASK, Context, Cpu

from .locations import Name
from .points import ENDED, Doing, Point


class Process:
    """One explored thread of control: its context, its name, and the point it stands at.

    `irqs_open`, `softirqs_open`, `tasks_open`: could an interrupt, a softirq, another thread have come in
    since its last visible operation? What it did since then concerns nobody else, so one that could have come
    in then may as well come in now.
    """

    __slots__ = (
        "asks",
        "children",
        "context",
        "coro",
        "cpu",
        "done",
        "holds",
        "idle",
        "inside",
        "irqs_open",
        "keeper",
        "kind",
        "let_in",
        "looked",
        "looks",
        "loose",
        "moment",
        "name",
        "openest",
        "outermost",
        "pages",
        "passed",
        "plainly",
        "point",
        "section",
        "seen",
        "shut_in",
        "softirqs_open",
        "started",
        "steps",
        "sure",
        "tasks_open",
        "ticks",
        "unheard",
        "unstopped",
        "went",
    )

    def __init__(
        self, name: Name, context: Context, coro: Any, kind: str, cpu: Cpu | None, point: Point
    ) -> None:
        self.name = name
        self.context = context
        self.coro = coro
        self.kind = kind
        self.cpu = cpu
        self.point: Point | None = point
        self.started = False
        self.done = False
        self.children = 0
        self.pages = 0
        self.irqs_open = self.softirqs_open = self.tasks_open = True
        # who may keep it off its CPU since before it was set off (see `kept_off`), at which of its ticks
        self.keeper: tuple[Process, int] | None = None
        self.ticks = 0  # how many it has set off, and how often it was noted whom it lets in
        self.let_in: dict[str, int] = {}  # kind of thread → at which tick it was let in last
        self.holds: tuple[str, ...] = ()
        # the locks whose sections, single steps, it is in; what was touched there
        self.inside: tuple[int, ...] = ()
        self.outermost = 0  # the first of them in this step; see `Sections._free`
        self.loose = 0
        self.section: list[tuple[int, int]] = []
        self.went = 0  # what it had touched when it last came to where it would stop elsewhere
        self.passed = (
            0  # if others could have come in since its last point: what it had touched by then, or 1
        )
        self.moment = 0  # the last of these moments, by name
        self.looked: dict[int, int] = {}  # what it has looked at since it last did more, see `Touching.spins`
        self.unstopped = 0  # what it has done since its last point
        self.unheard = 0  # and since its last step that others can see
        self.steps = 0  # how many it has taken, the one under way included
        self.looks: list[int] = []  # in which of them it has looked, since what it looked at last changed
        # in which, and after how many of its moments, it looked last at this
        self.seen: dict[int, tuple[int, int]] = {}
        self.idle = False  # has time passed since it last did more than look?
        self.plainly = 0  # how many of the last looks were plain ones
        self.asks = 0  # how often it was tried, since it last did more than look, whether it would give up
        self.openest = 0  # how many kinds of thread could come in, where most could since then
        self.shut_in = 0  # after how many looks it came to where fewer can, and would have waited
        self.sure = False  # it was tried: as many can come in again in its rounds

    @property
    def doing(self) -> Doing:
        """What it is about to do."""
        return self.point.doing if self.point is not None else ENDED

    def does_more(self) -> None:
        """It does more than look: it does not spin."""
        self.looked.clear()
        self.idle = self.sure = False
        self.asks = self.openest = self.shut_in = 0

    @property
    def isopen(self) -> int:
        """How many kinds of thread could have come in since its last visible operation."""
        return self.irqs_open + self.softirqs_open + self.tasks_open

    def shuts(self) -> tuple[str, ...]:
        """Which kinds of thread cannot come in on its CPU now, until it has taken another step."""
        if self.done:
            return ()
        if self.kind == HARDIRQ:
            return (HARDIRQ,)
        shut = () if self.irqs_open else (HARDIRQ,)
        if self.kind == SOFTIRQ:
            return (*shut, SOFTIRQ)
        if not self.softirqs_open:
            shut = (*shut, SOFTIRQ)
        return shut if self.tasks_open else (*shut, TASK)

    def keeps(self, kind: str) -> bool:
        """Does it keep this kind of thread off its CPU at this moment?"""
        off = self.context.irqstate & (HARD_OFF if kind == HARDIRQ else ~0)
        return not self.done and bool(off or (kind == TASK and self.context.preempt))

    def lets_in(self) -> None:
        """Note whom it lets in at this moment."""
        if self.ticks:
            self.ticks += 1
            for kind in (HARDIRQ, SOFTIRQ, TASK):
                if not self.keeps(kind):
                    self.let_in[kind] = self.ticks

    def kept_off(self) -> Process | None:
        """Who has kept it off its CPU since before it was set off, which may have been in one step."""
        if self.keeper is None:
            return None
        keeper, since = self.keeper
        keeps = keeper.cpu is self.cpu and keeper.keeps(self.kind) and keeper.let_in.get(self.kind, 0) < since
        return keeper if keeps else None

    def __repr__(self) -> str:
        return f"<{self.context.name}, {'.'.join(map(str, self.name))}>"
