"""What is being checked, and the way out for what is found.

The validator does not switch itself off after its first report, as the kernel's does (`debug_locks`): it goes
on, and `Findings` sees to it that one problem is reported once.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from .chain import Chain
from .classes import LockClass
from .keys import how
from .report import Held, Link, Report

TAKES = "takes"
TURNS_ON = "lets interrupts in while it holds"
KEEPS = "lets go of another lock and keeps"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One step under check: a context takes `lock`, or lets interrupts in while it holds it.

    `irqstate`: None where it does not matter. `sites`: where the context took the locks it holds, outermost
    first; empty when the caller does not say.
    """

    chain: Chain
    irqstate: int | None
    lock: LockClass
    read: int
    trylock: bool
    site: Hashable
    sites: Sequence[Hashable] = ()
    doing: str = TAKES

    @property
    def held(self) -> tuple[Held, ...]:
        """What the context holds, outermost first."""
        return self.chain.held(self.sites)

    @property
    def how(self) -> str:
        """How the lock is taken, in words."""
        return how(self.read, self.trylock)


class Findings:
    """Hands each distinct problem to `sink` once."""

    def __init__(self, sink: Callable[[Report], None]) -> None:
        self._sink = sink
        self._seen: set[tuple[Hashable, ...]] = set()

    def once(self, problem: tuple[Hashable, ...], report: Report) -> None:
        """Hand the report on, unless `problem` was reported before."""
        if problem not in self._seen:
            self._seen.add(problem)
            self._sink(report)


def make_report(
    kind: str,
    attempt: Attempt,
    lines: Sequence[str],
    *,
    classes: tuple[str, ...] = (),
    sites: tuple[Hashable, ...] = (),
    usage: tuple[str, ...] = (),
    cycle: tuple[Link, ...] = (),
) -> Report:
    """A report on `attempt`; its site comes first, `sites` are the earlier ones that it clashes with."""
    held = attempt.held
    return Report(
        kind,
        classes or (attempt.lock.name,),
        (attempt.site, *sites),
        usage,
        cycle,
        held,
        attempt.chain.context.name,
        "\n".join(
            [
                kind,
                *lines,
                "",
                "It holds, outermost first:" if held else "It holds nothing.",
                *(f"  {lock}" for lock in held),
            ]
        ),
    )
