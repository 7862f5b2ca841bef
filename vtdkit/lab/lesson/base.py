"""What several lessons need: a scene run side by side and measured, a scenario tried in every order, an
exercise that runs code.

    pc = Computer(driver=driver_at(0), cpus=2, ...)
    dump, unmap = pc.driver.domain_translation_struct_show(), pc.core.iommu_unmap(...)
    run = together(pc, cat=dump, unmap=later(pc, 2_000, unmap))
    run.locks            # a table: who was taken how often, waited for and held how long, since the scene
                         began
    run.irqs_off("cat")  # ns
    LockTimeline(run.trace, start=run.start)

Thread n runs on CPU n. Only what happens after the scene begins is counted; setting it up is not. All
times are virtual ns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.checkers.checks import CHECKERS
from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.explored.exploring import Factory, explore, settled, shortest
from vtdkit.kernel.explorer.schedule import Schedule
from vtdkit.kernel.explorer.search import explore_system
from vtdkit.kernel.explorer.system import Outcome
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.record.spans import Span
from vtdkit.kernel.record.trace import Trace
from vtdkit.kernel.record.units import duration
from vtdkit.lab.classroom import shipped
from vtdkit.lab.computer import Computer
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.scenarios.base import Scenario
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.lab.steps.schedule import Steps, record_schedule
from vtdkit.series.catalogue import name_of

from .shown import Listing, Table, patch_diff, source, table

__all__ = [
    "NO_RACES",
    "CodeExercise",
    "Listing",
    "Run",
    "Table",
    "Tried",
    "duration",
    "in_turn",
    "later",
    "patch_diff",
    "reality",
    "shown_by",
    "source",
    "table",
    "together",
    "tried",
    "version_with",
]

#: for a scene that is about time: the checker of data races is left out, since it reports some that are
#: harmless in every version
NO_RACES = tuple(name for name in CHECKERS if name != "races")


FULL = 1_000_000  # ns


# -- real machines ------------------------------------------------------------


def reality(name: str) -> Path:
    """The folder with the tables of a real machine, for `Image.load`. Raises FileNotFoundError, with the
    names there are, for another one.
    """
    folder = shipped("reality") / name
    if not folder.is_dir():
        names = ", ".join(sorted(path.name for path in folder.parent.iterdir() if path.is_dir()))
        raise FileNotFoundError(f"there are no tables of a machine {name!r}; there are {names}")
    return folder


# -- a scene ------------------------------------------------------------------


async def later(pc: Computer, ns: int, coro: Coroutine[Any, Any, Any]) -> Any:
    """Be busy for `ns`, then run `coro`: to let threads begin one after the other."""
    await pc.machine.work(ns)
    return await coro


async def in_turn(*coros: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run several coroutines one after the other in one thread."""
    return [await coro for coro in coros]


def together(pc: Computer | Machine, **threads: Coroutine[Any, Any, Any]) -> Run:
    """Run these threads at the same time, the first on CPU 0, the second on CPU 1, ...

    The scene begins at a full millisecond, so that scenes of two versions begin at the same time and can
    be laid side by side. Raises ValueError if there are more threads than CPUs.
    """
    machine = pc if isinstance(pc, Machine) else pc.machine
    title = "a machine" if isinstance(pc, Machine) else name_of(type(pc.driver))
    if len(threads) > len(machine.cpus):
        for coro in threads.values():
            coro.close()
        raise ValueError(
            f"{len(threads)} threads and {len(machine.cpus)} CPUs; make the computer with cpus={len(threads)}"
        )
    machine.advance(-machine.now % FULL)
    start = machine.now
    contexts = {
        name: machine.spawn(coro, cpu=cpu, name=name) for cpu, (name, coro) in enumerate(threads.items())
    }
    trace = machine.simulate()
    results = {name: context.result for name, context in contexts.items()}
    return Run(title, start, trace, results)


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
        """The stretches of the scene in a state ("holding", "spinning", "irqs off", ...), of one lock or
        thread or of all.
        """
        return [
            span
            for span in self.trace.spans()
            if span.state == state
            and span.end > self.start
            and lock in ("", span.object)
            and thread in ("", span.context)
        ]

    def _longest(self, state: str, **of: str) -> int:
        return max((span.end - span.start for span in self.spans(state, **of)), default=0)

    def held(self, lock: str, thread: str = "") -> int:
        """The longest time a lock was held without a break, ns."""
        return self._longest("holding", lock=lock, thread=thread)

    def taken(self, lock: str, thread: str = "") -> int:
        """How often a lock was taken."""
        return len(self.spans("holding", lock=lock, thread=thread))

    def waited(self, thread: str, lock: str = "") -> int:
        """How long a thread spun for a lock (or for any) in all, ns."""
        spans = self.spans("spinning", lock=lock, thread=thread)
        return sum(span.end - max(span.start, self.start) for span in spans)

    def irqs_off(self, thread: str = "") -> int:
        """The longest stretch with interrupts off, in a thread or in any, ns."""
        return self._longest("irqs off", thread=thread)

    def took(self, thread: str) -> int:
        """From the beginning of the scene to the end of a thread, ns."""
        ends = self.trace.where(kind="end", context=thread).column("time")
        return ends[-1] - self.start if len(ends) else self.length

    @property
    def locks(self) -> Table:
        """Lock by lock: times taken, times waited for, the longest wait, the longest
        hold. Longest hold first.
        """
        names = {span.object for span in self.spans("holding")}
        rows = (
            (
                name,
                self.taken(name),
                len(self.spans("spinning", lock=name)),
                duration(self._longest("spinning", lock=name)),
                duration(self.held(name)),
            )
            for name in sorted(names, key=lambda name: (-self.held(name), name))
        )
        return table(["lock", "taken", "waits", "longest wait", "longest hold"], *rows)

    def __repr__(self) -> str:
        return f"<{self.title}: {', '.join(self.results)}, over after {duration(self.length)}>"


# -- a scenario in every order ------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tried:
    """A scenario of one version, run in every order that can make a difference (or in
    those that `extent` says).

    `findings` says kind and place of what the checkers found, and in how many executions; `bad` in
    how many there was any; `schedule` is the order with the fewest switches that showed the first
    of them, for `record_schedule`.
    """

    scenario: str
    title: str
    executions: int
    extent: str
    bad: int
    findings: tuple[tuple[str, str, int], ...]
    schedule: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether no order was left out."""
        return self.extent == "complete"

    @property
    def short(self) -> str:
        """For a table: in how many of how many."""
        return f"in {self.bad} of {self.executions}"

    def __repr__(self) -> str:
        extent = "every order" if self.complete else self.extent
        head = (
            f"{self.scenario}, {self.title}: {self.executions} "
            f"execution{'s' * (self.executions != 1)} ({extent}), "
        )
        if not self.findings:
            return head + "nothing found"
        lines = (f"  {count:>5} x  {kind}: {where}" for kind, where, count in self.findings)
        return head + f"something found in {self.bad}:\n" + "\n".join(lines)


def tried(
    scenario: str | Scenario,
    driver: type[IntelIommu],
    *,
    wanted: str = "",
    limit: int = 2000,
) -> Tried:
    """Run a scenario, one of `SCENARIOS` or another, in every order that matters, and count findings
    whose kind contains `wanted`.

    Two orders count as one where they differ only in steps that do not touch the same thing. `limit`
    executions at most. Raises KeyError for a scenario there is not.
    """
    scene = SCENARIOS[scenario] if isinstance(scenario, str) else scenario
    build = scene.on(driver)

    def attempt(factory: Factory, _shared: frozenset[int]) -> Tried:
        seen: list[tuple[set[tuple[str, str]], Schedule]] = []

        def meet(outcome: Outcome, schedule: Schedule) -> None:
            # a deadlock is told twice; the machine's own finding has the names
            known = [each for each in outcome.findings if isinstance(each, Finding)]
            seen.append(({(each.kind, each.where) for each in known if wanted in each.kind}, schedule))

        result = explore_system(factory, limit=limit, on_outcome=meet)
        times = Counter(each for shown, _ in seen for each in shown)
        found = sorted(times, key=lambda key: (-times[key], key))  # the most frequent first
        first = [schedule for shown, schedule in seen if found and found[0] in shown]
        best = min(first, key=lambda each: (each.switches, len(each.steps)), default=Schedule(()))
        return Tried(
            scene.name,
            name_of(driver),
            result.executions + result.deadlocks,
            "complete" if result.complete else result.extent,
            sum(bool(shown) for shown, _ in seen),
            tuple((*key, times[key]) for key in found),
            tuple(best.steps),
        )

    return settled(build, attempt, cpus=scene.cpus)[0]


def shown_by(scene: Scenario, driver: type[IntelIommu], kind: str, title: str) -> Steps:
    """The shortest order found in which a scenario shows a finding whose kind contains
    `kind`, step by step.

    Raises LookupError if no order shows one.
    """
    build = scene.on(driver)
    found = explore(build, cpus=scene.cpus)
    wanted = found.of(kind)
    if not wanted:
        raise LookupError(f"in no order of {scene.name!r} a {kind} is found, {name_of(driver)}")
    schedule = shortest(build, found.schedule_of(wanted[0]), wanted[0], shared=found.shared, cpus=scene.cpus)
    return record_schedule(build, schedule, shared=found.shared, cpus=scene.cpus, title=title)
