"""What the parts at the bottom of a machine need of it: somebody to tell, and a record to write into.

Engine, scheduler and interrupt flags know no checker and no lock; what they pass on goes through here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .costs import Costs

if TYPE_CHECKING:
    from vtdkit.kernel.checkers.lockdep.chain import Chain
    from vtdkit.kernel.record.sites import Spot

    from .context import Context
    from .scheduling import Scheduler

Clock = dict[int, int]


class Watch(Protocol):
    """Who wants to know what contexts do (`vtdkit.kernel.checkers.checks`)."""

    def root_chain(self, kind: str) -> Chain:
        """The chain of held locks that a context of this kind begins with."""

    def known_here(self) -> Clock | None:
        """What the running context knows to have happened before."""

    def follow(self, context: Context, known: Clock | None) -> None:
        """What is `known` happened before anything `context` does."""

    def entered(self, context: Context) -> None:
        """An interrupt handler starts."""

    def left(self, context: Context) -> None:
        """An interrupt handler has ended."""

    def ended(self, context: Context) -> None:
        """A thread has ended."""

    def stands_still(self, boot: Context, contexts: list[Context]) -> None:
        """The machine stands still: what is started next comes after all that was done."""

    def failed(self, error: BaseException) -> None:
        """The running context has raised."""

    def slept_in_interrupt(self, context: Context) -> None:
        """Something that is no thread wanted to sleep."""

    def irqs_switched(self, context: Context, on: bool, place: Spot) -> None:
        """Hard interrupts of `context` went off or on."""

    def softirqs_on(self, context: Context, place: Spot) -> None:
        """Softirqs of `context` came back on."""


class Log(Protocol):
    """Where events go (`statistics`)."""

    emit: Callable[..., None]

    def housekeeping(self) -> None:
        """Now and then: compact records."""

    def word(self, what: str) -> int:
        """The number in the record of something that is waited for and is no lock."""


class Host(Protocol):
    """The machine, as its own lower parts see it."""

    costs: Costs

    @property
    def check(self) -> Watch: ...
    @property
    def stat(self) -> Log: ...
    @property
    def sched(self) -> Scheduler: ...
