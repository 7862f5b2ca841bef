"""One schedule of a scenario, step by step: what the interleaving stepper shows.

`record_schedule(scenario, schedule)` runs the scenario under the explorer's machine in exactly that order and writes down, after
every step, where each thread stands in the source, what it is about to do, which locks it has, what the shared words hold, what was
freed and what the checkers have found. A step is one visible operation and all that the thread does up to its next one.

A schedule is text such as `0*4 1*2`: thread 0 takes four steps, then thread 1 two (`0.1` is the first thing thread 0 set off, an
interrupt for instance); or the same as a sequence of names. After its end the last thread goes on as long as it can, then the
first one that can.

Rules for the caller: the scenario does the same each time it is called (see `vtdkit.kernel.scenario`). Where a thread's steps end
depends on which locations are known to be shared, so a schedule goes with the set it was found with (`shared`); without one,
`discover` finds it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vtdkit.kernel import Machine
from vtdkit.kernel.scenario import MachineSystem, Observer

from .inevitable import BUDGET, first_inevitable
from .standing import Lines, Sources, op_of, standing
from .watched import Watched

Name = tuple[int, ...]
Scenario = Callable[[Machine], Observer]
Schedule = str | Sequence[Name]
MOST_STEPS = 2000
DISCOVERY = 8  # orders tried to find out what is shared
READY, WAITING, DONE = "ready", "waiting", "done"


@dataclass(frozen=True, slots=True)
class Source:
    """A function as it is shown: its name, the file from the package down, the number of its first line, its lines."""

    name: str
    file: str
    first: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a thread stands between two steps.

    `function` is an index into `Steps.sources` (-1: nowhere), `line` the number of the line it is about to run or is in the middle
    of (0 when it has ended); `ran` are the lines of this function that its last step ran. `next` says what it will do, or why it
    cannot; `path` are the functions it came through.
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
    """One step: who moved (index into `Steps.threads`), what it did, where all stand then (indices into `Steps.stands`),
    the values of the watched words, what it freed."""

    thread: int
    did: str
    stands: tuple[int, ...]
    values: tuple[str, ...]
    freed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding: after how many steps it appeared (0: in the set-up), its first line, all of it; and the places it names (file and
    line), the one where it was noticed first."""

    step: int
    title: str
    text: str
    places: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Steps:
    """A schedule, run. `steps[0]` is the state before the first step (its `thread` is -1).

    `inevitable` is the number of steps after which every way to go on shows the first finding that the set-up had not, None where
    there is none or the search gave up; `how` says in a sentence what was searched.
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

    def __repr__(self) -> str:
        new = [found.step for found in self.findings if found.step]
        found = f"{len(new)} findings, the first after step {new[0]}" if new else "no findings"
        return f"<steps of {self.title}: {len(self)} steps of {len(self.threads)} threads, {found}>"


def parse(schedule: Schedule) -> list[Name]:
    """The steps of a schedule one by one. Raises ValueError for text that is none."""
    if not isinstance(schedule, str):
        return [tuple(name) for name in schedule]
    found: list[Name] = []
    for word in schedule.split():
        name, star, times = word.partition("*")
        if not all(part.isdecimal() for part in (*name.split("."), times if star else "1")):
            raise ValueError(f"{word!r} is no part of a schedule; write 0*4 1 0.1*2: a thread, and how many steps it takes")
        found += [tuple(map(int, name.split(".")))] * int(times or 1)
    return found


def schedule_text(names: Iterable[Name]) -> str:
    """A schedule as text, runs of one thread counted."""
    runs: list[list[Any]] = []
    for name in names:
        if runs and runs[-1][0] == name:
            runs[-1][1] += 1
        else:
            runs.append([name, 1])
    return " ".join(".".join(map(str, name)) + (f"*{count}" if count > 1 else "") for name, count in runs)


def discover(scenario: Scenario, **options: Any) -> frozenset[int]:
    """The locations that the threads of a scenario share, found by running it in a few orders until no more turn up."""
    shared: frozenset[int] = frozenset()
    while True:
        system = MachineSystem(scenario, shared=shared, grow=True, **options)
        for seed in range(DISCOVERY):
            pick = random.Random(seed)
            system.start()
            for _ in range(MOST_STEPS):
                enabled = system.enabled()
                if not enabled:
                    break
                system.step(enabled[0] if seed == 0 else enabled[-1] if seed == 1 else pick.choice(enabled))
        system.close()
        if len(system.locations.shared) == len(shared):
            return shared
        shared = frozenset(system.locations.shared)


def record_schedule(
    scenario: Scenario, schedule: Schedule = "", *, title: str = "", shared: Iterable[int] | None = None, budget: int = BUDGET,
    watch: Mapping[str, Callable[[Any], object]] | None = None, **options: Any,
) -> Steps:  # fmt: skip
    """Run one schedule and write down every step.

    `watch` names more to show beside the words that the threads touch: a function of the machine each. `budget` is how many
    executions the search for the point of no return may take (0: do not search). `options` go to the machine.

    Raises ValueError for a schedule in which a thread moves that cannot, or one of more than 2000 steps.
    """
    frozen = discover(scenario, **options) if shared is None else frozenset(shared)

    def system(run: Scenario = scenario) -> MachineSystem:
        return MachineSystem(run, shared=frozen, grow=True, **options)

    names = parse(schedule)
    watched = Watched(watch or {})
    order = _rehearse(system(), names, watched)
    recorder = _Recorder(system(watched.follow(scenario)), scenario, watched)
    recorder.run(order)
    inevitable, how = None, "nothing was found"
    first = next((i for i, found in enumerate(recorder.findings) if found.step), None)
    if first is not None:
        inevitable, how = first_inevitable(system, order, recorder.signs[first], recorder.findings[first].step, budget)
    shown = watched.telling([step.values for step in recorder.steps])
    return Steps(
        title or getattr(getattr(scenario, "func", scenario), "__name__", "a scenario"), schedule_text(order),
        tuple(recorder.labels), tuple(recorder.sources.found), tuple(recorder.stands), tuple(watched.labels[i] for i in shown),
        tuple(recorder.filled(shown)), tuple(recorder.findings), inevitable, how, recorder.outcome,
    )  # fmt: skip


def _rehearse(system: MachineSystem, names: Sequence[Name], watched: Watched) -> list[Name]:
    """Run it once to see how it ends and which words are touched; the whole order."""
    system.start()
    order: list[Name] = []
    try:
        while enabled := list(system.enabled()):
            if len(order) >= MOST_STEPS:
                raise ValueError(f"the scenario is not over after {MOST_STEPS} steps; that is too long to step through")
            name = _next(system, names, order, enabled)
            watched.notice(name, op_of(system.machine.processes[name]))
            system.step(name)
            order.append(name)
        if len(order) < len(names):
            raise ValueError(f"the schedule goes on after step {len(order)}, but {_who_can(system, [])}")
        return order
    finally:
        system.close()


def _next(system: MachineSystem, names: Sequence[Name], order: Sequence[Name], enabled: Sequence[Name]) -> Name:
    if len(order) < len(names):
        name = names[len(order)]
        if name not in enabled:
            who = ".".join(map(str, name))
            raise ValueError(f"step {len(order) + 1} of the schedule moves thread {who}, which cannot: {_who_can(system, enabled)}")
        return name
    return order[-1] if order and order[-1] in enabled else enabled[0]


def _who_can(system: MachineSystem, enabled: Sequence[Name]) -> str:
    names = [f"{'.'.join(map(str, name))} ({system.machine.processes[name].context.name})" for name in enabled]
    return f"those that can are {', '.join(names)}" if names else "nobody can go on"


class _Recorder:
    """Runs an order and collects. Guards: used by one thread."""

    def __init__(self, system: MachineSystem, scenario: Scenario, watched: Watched) -> None:
        self.system = system
        self.watched = watched
        self.sources = Sources(scenario, Source)
        self.names: list[Name] = []
        self.labels: list[str] = []
        self.stands: list[Stand] = [Stand(-1, 0, "has not begun", READY)]
        self.numbers: dict[Stand, int] = {self.stands[0]: 0}
        self.steps: list[Step] = []
        self.findings: list[Shown] = []
        self.signs: list[tuple[str, str]] = []
        self.ran: dict[Name, tuple[tuple[Any, int], ...]] = {}
        self.last: dict[Name, int] = {}  # the function each thread was seen in last
        self.outcome = ""

    def run(self, order: Sequence[Name]) -> None:
        """The whole order, from the start to what the observer says."""
        self.system.start()
        try:
            machine = self.system.machine
            self.watched.begin(machine)
            self._note(-1, "")
            for name in order:
                process = machine.processes[name]
                did = op_of(process).words
                with Lines(self.sources) as lines:
                    self.system.step(name)
                self.ran[name] = tuple(dict.fromkeys(lines.seen))
                self._note(self._thread(name), did)
            end = self.system.finish()
            self.outcome = str(end.value)
            if self.outcome.startswith("deadlock"):
                self._found(len(order), "deadlock", "deadlock", self.outcome)
        finally:
            self.system.close()

    def filled(self, shown: Sequence[int]) -> list[Step]:
        """The steps, with the values that are shown, and threads that came later standing nowhere before."""
        late = len(self.names)
        return [
            Step(s.thread, s.did, s.stands + (0,) * (late - len(s.stands)), tuple(s.values[i] for i in shown), s.freed)
            for s in self.steps
        ]  # fmt: skip

    def _thread(self, name: Name) -> int:
        if name not in self.names:
            context = self.system.machine.processes[name].context
            place = f"CPU{context.cpu_id}" if context.cpu_id >= 0 else "device"
            self.names.append(name)
            self.labels.append(f"{place}: {context.name}")
        return self.names.index(name)

    def _note(self, thread: int, did: str) -> None:
        machine, enabled = self.system.machine, set(self.system.enabled())
        for name in machine.processes:
            self._thread(name)
        stands = tuple(self._stand(name, name in enabled) for name in self.names)
        self.steps.append(Step(thread, did, stands, self.watched.values(), self.watched.freed()))
        for finding in list(machine.findings)[len(self.findings) :]:
            places = tuple((site.file, site.line) for site in finding.sites)
            self._found(len(self.steps) - 1, finding.kind, finding.where, str(finding), places)

    def _found(self, step: int, kind: str, where: str, text: str, places: tuple[tuple[str, int], ...] = ()) -> None:
        self.findings.append(Shown(step, kind if kind == where else f"{kind}: {where}", text, places))
        self.signs.append((kind, where))

    def _stand(self, name: Name, enabled: bool) -> int:
        process = self.system.machine.processes[name]
        held = tuple(hold.name for hold in process.context.held)
        if process.done:
            error = process.context.error
            words = f"died: {error}" if error is not None else "has ended"
            made = Stand(self.last.get(name, -1), 0, words, DONE, held, (), self._ran(name, self.last.get(name, -1)))
        else:
            function, line, path = standing(process, self.sources)
            words = op_of(process).words if enabled else _why(process)
            made = Stand(function, line, words, READY if enabled else WAITING, held, path, self._ran(name, function))
            self.last[name] = function
        number = self.numbers.setdefault(made, len(self.numbers))
        if number == len(self.stands):
            self.stands.append(made)
        return number


    def _ran(self, name: Name, function: int) -> tuple[int, ...]:
        """The lines of a function that the thread's last step ran."""
        code = self.sources.codes[function] if function >= 0 else None
        return tuple(sorted({line for seen, line in self.ran.get(name, ()) if seen is code}))


def _why(process: Any) -> str:
    """Why a thread cannot go on."""
    what = process.point.what if process.point is not None else None
    if what is None:
        return "waits for its CPU"
    owner = getattr(what, "owner", None)
    text = f"waits for {getattr(what, 'name', what)}"
    return f"{text}, which {owner.name} has" if owner is not None else text
