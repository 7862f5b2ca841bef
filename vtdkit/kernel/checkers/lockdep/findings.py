"""What is being checked, and the way out for what is found.

The validator does not switch itself off after its first report, as the kernel's does (`debug_locks`): it goes
on, and `Findings` sees to it that one problem is reported once.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from .chain import Chain
from .classes import LockClass
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


class Findings:
    """Hands each distinct problem to `sink`, once. The rules of the validator are built on this."""

    def __init__(self, sink: Callable[[Report], None]) -> None:
        self._sink = sink
        self._seen: set[tuple[Hashable, ...]] = set()

    def _once(
        self,
        problem: tuple[Hashable, ...],
        kind: str,
        attempt: Attempt,
        lines: Sequence[str],
        *,
        classes: tuple[str, ...] = (),
        sites: tuple[Hashable, ...] = (),
        usage: tuple[str, ...] = (),
        cycle: tuple[Link, ...] = (),
    ) -> None:
        """Report on `attempt`, unless `problem` was reported before; its site comes first, `sites` are the
        earlier ones that it clashes with.
        """
        if problem in self._seen:
            return
        self._seen.add(problem)
        held = attempt.held
        ends = ["", "It holds, outermost first:" if held else "It holds nothing."]
        self._sink(
            Report(
                kind,
                classes or (attempt.lock.name,),
                (attempt.site, *sites),
                usage,
                cycle,
                held,
                attempt.chain.context.name,
                "\n".join([kind, *lines, *ends, *(f"  {lock}" for lock in held)]),
            )
        )
