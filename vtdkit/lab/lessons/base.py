"""What several lessons need: a scene run side by side and measured, a scenario tried in many orders, an exercise that runs code.

    pc = Computer(driver=driver_at(0), cpus=2, ...)
    run = together(pc, cat=pc.driver.domain_translation_struct_show(), unmap=after(pc, 2_000, pc.core.iommu_unmap(...)))
    run.locks            # a table: who was taken how often, waited for and held how long, since the scene began
    run.irqs_off("cat")  # ns
    LockTimeline(run.trace, start=run.start)

Thread n runs on CPU n. Only what happens after the scene begins is counted; setting it up is not. All times are virtual ns.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel import CHECKERS, Span, Trace
from vtdkit.kernel.scenario import MachineSystem
from vtdkit.lab.computer import Computer
from vtdkit.lab.exercises import Exercise
from vtdkit.lab.scenarios import SCENARIOS
from vtdkit.lab.steps import schedule_text

from .shown import Listing, Table, duration, patch_diff, source, table

__all__ = [
    "NO_RACES", "CodeExercise", "Listing", "Run", "Table", "Tried", "after", "duration", "in_turn", "patch_diff", "source", "table",
    "together", "tried", "version_with",
]  # fmt: skip

#: for a scene that is about time: the checker of data races is left out, since it reports some that are harmless in every version
NO_RACES = tuple(name for name in CHECKERS if name != "races")


# -- a scene ---------------------------------------------------------------------------------------------------------


async def after(pc: Computer, ns: int, coro: Coroutine[Any, Any, Any]) -> Any:
    """Be busy for `ns`, then run `coro`: to let threads begin one after the other."""
    await pc.machine.work(ns)
    return await coro


async def in_turn(*coros: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run several coroutines one after the other in one thread."""
    return [await coro for coro in coros]


def together(pc: Computer, **threads: Coroutine[Any, Any, Any]) -> Run:
    """Run these threads at the same time, the first on CPU 0, the second on CPU 1, ...

    Raises ValueError if there are more threads than CPUs.
    """
    machine = pc.machine
    if len(threads) > len(machine.cpus):
        for coro in threads.values():
            coro.close()
        raise ValueError(f"{len(threads)} threads and {len(machine.cpus)} CPUs; make the computer with cpus={len(threads)}")
    start = machine.now
    contexts = {name: machine.spawn(coro, cpu=cpu, name=name) for cpu, (name, coro) in enumerate(threads.items())}
    trace = machine.simulate()
    results = {name: context.result for name, context in contexts.items()}
    return Run(pc.driver.title, start, trace, results)


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """A scene that was run: which version, when it began (ns), the record, what each thread returned."""

    title: str
    start: int
    trace: Trace
    results: dict[str, Any] = field(compare=False)

    @property
    def length(self) -> int:
        """From the beginning of the scene to its end, ns."""
        return self.trace.end - self.start

    def spans(self, state: str, *, lock: str = "", thread: str = "") -> list[Span]:
        """The stretches of the scene in a state ("holding", "spinning", "irqs off", ...), of one lock or thread or of all."""
        return [
            span for span in self.trace.spans()
            if span.state == state and span.end > self.start and lock in ("", span.object) and thread in ("", span.context)
        ]  # fmt: skip

    def _sum(self, spans: list[Span]) -> int:
        return sum(span.end - max(span.start, self.start) for span in spans)

    def held(self, lock: str, thread: str = "") -> int:
        """The longest time a lock was held without a break, ns."""
        return max((span.end - span.start for span in self.spans("holding", lock=lock, thread=thread)), default=0)

    def taken(self, lock: str, thread: str = "") -> int:
        """How often a lock was taken."""
        return len(self.spans("holding", lock=lock, thread=thread))

    def waited(self, thread: str, lock: str = "") -> int:
        """How long a thread spun for a lock (or for any) in all, ns."""
        return self._sum(self.spans("spinning", lock=lock, thread=thread))

    def irqs_off(self, thread: str = "") -> int:
        """The longest stretch with interrupts off, in a thread or in any, ns."""
        return max((span.end - span.start for span in self.spans("irqs off", thread=thread)), default=0)

    def took(self, thread: str) -> int:
        """From the beginning of the scene to the end of a thread, ns."""
        ends = self.trace.where(kind="end", context=thread).column("time")
        return ends[-1] - self.start if len(ends) else self.length

    @property
    def locks(self) -> Table:
        """Lock by lock: times taken, times waited for, the longest wait, the longest hold. Longest hold first."""
        names = sorted({span.object for span in self.spans("holding")}, key=lambda name: (-self.held(name), name))
        return table(["lock", "taken", "waits", "longest wait", "longest hold"], *(self._row(name) for name in names))

    def _row(self, lock: str) -> tuple[object, ...]:
        waits = [span.end - span.start for span in self.spans("spinning", lock=lock)]
        return lock, self.taken(lock), len(waits), duration(max(waits, default=0)), duration(self.held(lock))

    def __repr__(self) -> str:
        return f"<{self.title}: {', '.join(self.results)}, over after {duration(self.length)}>"


# -- a scenario in many orders ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tried:
    """A scenario of one version, run in many random orders.

    `findings` says kind and place of what the checkers found, and in how many runs; `schedule` is the shortest order seen that
    showed the first of them, as text for `record_schedule`.
    """

    scenario: str
    title: str
    runs: int
    findings: tuple[tuple[str, str, int], ...]
    schedule: str = ""

    def of(self, kind: str) -> int:
        """In how many runs something of this kind was found at most."""
        return max((count for found, _, count in self.findings if kind in found), default=0)

    def __repr__(self) -> str:
        head = f"{self.scenario}, {self.title}: {self.runs} orders tried, "
        if not self.findings:
            return head + "nothing found"
        return head + "found\n" + "\n".join(f"  in {count:>3} runs  {kind}: {where}" for kind, where, count in self.findings)


def tried(scenario: str, driver: type[IntelIommu], runs: int = 100, seed: int = 0, *, wanted: str = "") -> Tried:
    """Run a scenario of `SCENARIOS` in `runs` random orders and count what the checkers find (only kinds that contain `wanted`).

    A sample: that nothing was found is no proof. Raises KeyError for a scenario there is not.
    """
    system = MachineSystem(SCENARIOS[scenario].on(driver), grow=True, cpus=SCENARIOS[scenario].cpus)
    choice = random.Random(seed)
    counts: Counter[tuple[str, str]] = Counter()
    orders: dict[tuple[str, str], list[tuple[int, ...]]] = {}
    for _ in range(runs):
        order = _one_order(system, choice)
        outcome = system.finish()
        findings: list[Any] = list(outcome.findings)
        found = sorted({(finding.kind, finding.where) for finding in findings if wanted in finding.kind})
        counts.update(found)
        for key in found:
            if key not in orders or _switches(order) < _switches(orders[key]):
                orders[key] = order
    system.close()
    rows = tuple((*key, count) for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return Tried(scenario, driver.title, runs, rows, schedule_text(orders[rows[0][:2]]) if rows else "")


def _one_order(system: MachineSystem, choice: random.Random) -> list[tuple[int, ...]]:
    """Run once; a thread goes on with probability 0.7, so that both long and short turns come up."""
    system.start()
    order: list[tuple[int, ...]] = []
    while enabled := list(system.enabled()):
        stay = bool(order) and order[-1] in enabled and choice.random() < 0.7
        order.append(order[-1] if stay else choice.choice(enabled))
        system.step(order[-1])
    return order


def _switches(order: list[tuple[int, ...]]) -> tuple[int, int]:
    return sum(a != b for a, b in pairwise(order)), len(order)


# -- exercises -------------------------------------------------------------------------------------------------------


@dataclass(slots=True, repr=False)
class CodeExercise(Exercise):
    """An exercise whose answer is code that is run: `judge(seed, function)` says what is wrong with it, None if nothing.

    `answer(seed)` is our solution, for `reveal`; `play(seed, function)` runs it once and returns something to look at.
    """

    judge: Callable[[int, Any], str | None] = lambda seed, given: None
    play: Callable[[int, Any], Any] = lambda seed, given: None

    def try_out(self, given: Any) -> Any:
        """Run the code once and show what it does. Raises what it raises."""
        return self.play(self.seed, given)

    def _problem(self, given: Any, right: Any) -> str | None:
        if given is None or given is ...:
            return "there is no answer yet"
        try:
            return self.judge(self.seed, given)
        except NotImplementedError:
            return "the function is not written yet"
        except Exception as error:  # whatever a student's function raises is an answer too
            return f"it raises {type(error).__name__}: {error}"


def version_with(driver: type[IntelIommu], function: Any, name: str = "") -> type[IntelIommu]:
    """A driver version that has one function more, or another one in its place: how a student's code gets into a driver.

    Raises TypeError if it is not a function.
    """
    if not callable(function):
        raise TypeError(f"a driver is made of functions; this is {function!r}")
    return type("Yours", (driver,), {name or function.__name__: function, "title": "your version"})
