"""One schedule of a scenario, step by step: what the interleaving stepper shows.

`record_schedule(scenario, schedule)` runs the scenario under the explorer's machine in exactly that order and
writes down, after every step, where each thread stands in the source, what it is about to do, which locks it
has, what the shared words hold, what was freed and what the checkers have found. A step is one visible
operation and all that the thread does up to its next one.

A schedule is that of a finding (`found.findings[0].schedule`), or text such as `cat*4 unmap*2`: the thread
cat takes four steps, then unmap two. After its end the last thread goes on as long as it can, then the first
one that can.

Rules for the caller: the scenario does the same each time it is called (see
`vtdkit.kernel.explored.scenario`). Where a thread's steps end depends on which locations are known to
be shared, so a schedule goes with the set it was found with (`found.shared`); without one, it is the
set that `replay` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from vtdkit.kernel.explored.exploring import shared_locations
from vtdkit.kernel.explored.locations import Access
from vtdkit.kernel.explored.scenario import NamedSystem, Observer
from vtdkit.kernel.explorer.replaying import replay
from vtdkit.kernel.explorer.schedule import Schedule
from vtdkit.kernel.machine.machine import Machine

from .inevitable import BUDGET, first_inevitable
from .standing import Source, Sources, lines_run, standing
from .watched import Watched

Plan = str | Schedule | Sequence[str]
Scenario = Callable[[Machine], Observer]
MOST_STEPS = 2000
READY, WAITING, DONE = "ready", "waiting", "done"


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a thread stands between two steps.

    `function` is an index into `Steps.sources` (-1: nowhere), `line` the number of the line it is about to
    run or is in the middle of (0 when it has ended); `ran` are the lines of this function that its last step
    ran. `next` says what it will do, or why it cannot; `path` are the functions it came through.
    """

    function: int
    line: int
    next: str
    state: str
    held: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    ran: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step: who moved (index into `Steps.threads`), what it did, where all stand then (indices into
    `Steps.stands`), the values of the watched words, what it freed."""

    thread: int
    did: str
    stands: tuple[int, ...]
    values: tuple[str, ...]
    freed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding: after how many steps it appeared (0: in the set-up), its first line, all of it; and the
    places it names (file and line), the one where it was noticed first."""

    step: int
    title: str
    text: str
    places: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Steps:
    """A schedule, run. `steps[0]` is the state before the first step (its `thread` is -1).

    `inevitable` is the number of steps after which every way to go on shows the first finding that the set-up
    had not, None where there is none or the search gave up; `how` says in a sentence what was searched.
    """

    title: str
    schedule: str
    threads: tuple[str, ...]
    sources: tuple[Source, ...]
    stands: tuple[Stand, ...]
    words: tuple[str, ...]
    steps: tuple[Step, ...]
    findings: tuple[Shown, ...]
    inevitable: int | None
    how: str
    outcome: str

    def __len__(self) -> int:
        return len(self.steps) - 1

    def stand(self, step: int, thread: int) -> Stand:
        """Where a thread stands after so many steps."""
        return self.stands[self.steps[step].stands[thread]]

    def when(self, thread: str, did: str) -> int:
        """The number of the first step in which a thread, given by its own name, did this:
        `when("cat", "take &iommu->lock")`.

        ValueError, with what it did do, if it never did that.
        """
        names = [name.rpartition(": ")[2] for name in self.threads]
        if thread not in names:
            raise ValueError(f"no thread {thread!r} here; there are {', '.join(names)}")
        own = [step.did if step.thread == names.index(thread) else "" for step in self.steps]
        if did not in own:
            raise ValueError(
                f"{thread} never did {did!r}; it did "
                f"{', '.join(dict.fromkeys(repr(one) for one in own if one))}"
            )
        return own.index(did)

    def __repr__(self) -> str:
        new = [found.step for found in self.findings if found.step]
        found = f"{len(new)} findings, the first after step {new[0]}" if new else "no findings"
        return f"<steps of {self.title}: {len(self)} steps of {len(self.threads)} threads, {found}>"


def parse(schedule: Plan) -> list[str]:
    """The threads that take the steps of a schedule, by name, one by one. Raises ValueError for text that
    is none.
    """
    if isinstance(schedule, str) and schedule:  # an empty plan tells nobody to move
        schedule = Schedule.parse(schedule)
    return list(schedule.steps if isinstance(schedule, Schedule) else schedule)


def record_schedule(
    scenario: Scenario,
    schedule: Plan = "",
    *,
    title: str = "",
    shared: Iterable[int] | None = None,
    budget: int = BUDGET,
    **options: Any,
) -> Steps:
    """Run one schedule and write down every step.

    `budget` is how many executions the search for the point of no return may take (0: do not search).
    `options` go to the machine.

    Raises ValueError for a schedule in which a thread moves that cannot, or one of more than 2000 steps.
    """
    frozen = shared_locations(scenario, **options) if shared is None else frozenset(shared)

    def system(run: Scenario = scenario) -> NamedSystem:
        return NamedSystem(run, shared=frozen, grow=True, **options)

    watched = Watched()
    # run once to see how it ends and which words are touched
    with closing(_Rehearsal(watched, scenario, shared=frozen, grow=True, **options)) as rehearsal:
        order = replay(rehearsal, Schedule(tuple(parse(schedule)))).schedule.steps
    recorder = _Recorder(system(watched.follow(scenario)), scenario, watched)
    recorder.run(order)
    inevitable, how = None, "nothing was found"
    first = next((i for i, found in enumerate(recorder.findings) if found.step), None)
    if first is not None:
        finding = list(recorder.system.machine.findings)[first]
        sign, appears = (finding.kind, finding.where), recorder.findings[first].step
        inevitable, how = first_inevitable(system, order, sign, appears, budget)
    shown = watched.telling([step.values for step in recorder.steps])
    return Steps(
        title or getattr(getattr(scenario, "func", scenario), "__name__", "a scenario"),
        Schedule(order).text,
        tuple(recorder.labels.values()),
        tuple(recorder.sources.shown.values()),
        tuple(recorder.stands),
        tuple(watched.labels[i] for i in shown),
        tuple(recorder.filled(shown)),
        tuple(recorder.findings),
        inevitable,
        how,
        recorder.outcome,
    )


class _Rehearsal(NamedSystem):
    """A system whose threads stop where `watched` notices it, and that is over before long."""

    def __init__(self, watched: Watched, scenario: Scenario, **options: Any) -> None:
        super().__init__(scenario, **options)
        self.watched = watched

    def step(self, name: Any) -> Sequence[Access]:
        if len(self.taken) == MOST_STEPS:
            raise ValueError(
                f"the scenario is not over after {MOST_STEPS} steps; that is too long to step through"
            )
        self.watched.notice(name, self.machine.processes[self.named[name]].doing)
        return super().step(name)


class _Recorder:
    """Runs an order and collects. Guards: used by one thread."""

    def __init__(self, system: NamedSystem, scenario: Scenario, watched: Watched) -> None:
        self.system = system
        self.watched = watched
        self.sources = Sources(scenario)
        self.labels: dict[str, str] = {}  # of the threads, by name
        self.stands: dict[Stand, int] = {Stand(-1, 0, "has not begun", READY): 0}  # with their numbers
        self.steps: list[Step] = []
        self.findings: list[Shown] = []
        self.ran: dict[str, list[tuple[Any, int]]] = {}  # by each thread's last step
        self.last: dict[str, int] = {}  # the function each thread was seen in last
        self.outcome = ""

    def run(self, order: Sequence[str]) -> None:
        """The whole order, from the start to what the observer says."""
        with closing(self.system) as system:
            system.start()
            self.watched.begin(system.machine)
            self._note(-1, "")
            for name in order:
                did = str(self._process(name).doing)
                with lines_run(self.sources) as self.ran[name]:
                    system.step(name)
                self._note(self._thread(name), did)
            self.outcome = str(system.finish().value)
            self._collect()  # a deadlock is found when nobody can go on

    def filled(self, shown: Sequence[int]) -> list[Step]:
        """The steps, with the values that are shown, and threads that came later standing nowhere before."""
        return [
            replace(
                step,
                stands=step.stands + (0,) * (len(self.labels) - len(step.stands)),
                values=tuple(step.values[i] for i in shown),
            )
            for step in self.steps
        ]

    def _process(self, name: str) -> Any:
        return self.system.machine.processes[self.system.named[name]]

    def _thread(self, name: str) -> int:
        context = self._process(name).context
        place = f"CPU{context.cpu_id}" if context.cpu_id >= 0 else "device"
        self.labels.setdefault(name, f"{place}: {context.name}")
        return list(self.labels).index(name)

    def _note(self, thread: int, did: str) -> None:
        enabled = set(self.system.enabled())
        for name in self.system.named:
            self._thread(name)
        stands = tuple(self._stand(name, name in enabled) for name in self.labels)
        self.steps.append(Step(thread, did, stands, self.watched.values(), self.watched.freed()))
        self._collect()

    def _collect(self) -> None:
        """What the checkers found since they were asked last."""
        self.findings += [
            Shown(
                len(self.steps) - 1,
                f"{finding.kind}: {finding.where}",
                str(finding),
                tuple((site.file, site.line) for site in finding.sites),
            )
            for finding in list(self.system.machine.findings)[len(self.findings) :]
        ]

    def _stand(self, name: str, enabled: bool) -> int:
        process = self._process(name)
        held = tuple(hold.name for hold in process.context.held)
        line, path, state = 0, tuple[str, ...](), DONE
        if process.done:
            error, function = process.context.error, self.last.get(name, -1)
            words = f"died: {error}" if error is not None else "has ended"
        else:
            function, line, path = standing(process, self.sources)
            before = self.system.machine.in_the_way(process)
            words, state = (str(process.doing), READY) if enabled else (_why(process, before), WAITING)
            self.last[name] = function
        # the lines of the function that the thread's last step ran
        code = list(self.sources.shown)[function] if function >= 0 else None
        ran = tuple(sorted({line for seen, line in self.ran.get(name, ()) if seen is code}))
        return self.stands.setdefault(Stand(function, line, words, state, held, path, ran), len(self.stands))


def _why(process: Any, before: Any) -> str:
    """Why a thread cannot go on; `before` has its CPU."""
    if before is not None:
        return f"waits for its CPU, which {before.context.name} has"
    what = process.point and process.point.awaited
    if what is None:
        return "waits for its CPU"
    owner = getattr(what, "owner", None)
    return f"waits for {getattr(what, 'name', what)}" + (f", which {owner.name} has" if owner else "")
