"""A scenario, and the system of processes that the exploration algorithm makes of it.

A *scenario* is a function of a machine: it builds what is needed (`machine.run` for set-up, alone and at
once), spawns the threads whose interleavings are to be explored, and returns an *observer*, a function
called at the end of each execution; what it returns (something printable and hashable) is the execution's
outcome. It is called afresh for every execution and must do the same each time. Each thread normally has
a CPU of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from copy import copy
from inspect import iscoroutinefunction
from typing import Any

from vtdkit.kernel.explorer.system import Outcome
from vtdkit.kernel.machine.machine import Machine

from .locations import ACQUIRE, Access, Grew, Locations, Name
from .machine import ExploredMachine
from .patience import MANY, in_the_end
from .points import Point
from .process import Process
from .stuck import report_deadlock, wait_cycle
from .touching import LOOKS, TRIES
from .watch import NotAStep

Observer = Callable[[], Hashable]
MOST, CROWD = 20_000, 500  # steps of one execution, and threads
FURTHER = 5_000  # and of one that shared something new: its threads may be in endless loops


class MachineSystem:
    """The processes of one scenario, as the exploration algorithm wants them (`explore.System`).

    `grow`: what to do when an execution shares locations that were not in `shared`: raise `Grew` (an
    exploration has to begin anew), or just go on with more points (random runs, discovery).
    """

    def __init__(
        self,
        scenario: Callable[[Machine], Observer],
        *,
        shared: Iterable[int] = (),
        grow: bool = False,
        tries: bool = True,
        **options: Any,
    ) -> None:
        self.scenario = scenario
        self.options = options
        self.grow = grow
        self.tries = tries
        self.locations = Locations(shared)
        self.machine: ExploredMachine = None  # type: ignore[assignment]  # built by start()
        self.spinning = dict[int, tuple[bool, int]]()  # what led to a thread's last looks → what in the end?

    def born(self, name: Any) -> int:
        """After how many steps of this execution a process came to be."""
        return self.births[name]

    def start(self) -> None:
        """A fresh machine, the scenario built on it, every thread about to begin."""
        self.close()
        self.machine = ExploredMachine(self.locations, **self.options)
        self.observer = self.scenario(self.machine)
        self.machine.begin()
        if not callable(self.observer) or iscoroutinefunction(self.observer):
            what = "an async function" if callable(self.observer) else repr(self.observer)[:80]
            raise TypeError(
                f"the scenario returned {what}; return an observer, a plain function without arguments that "
                "says how it ended: return lambda: x.value"
            )
        self.taken, self.births = list[Name](), dict[Any, int]()
        self.sure = dict[
            int, tuple[bool, int]
        ]()  # after which steps a trial came, and what of it (see `Process`)
        self.pasts = dict[Name, list[int]]()  # thread → a number for each of its steps, see `_remember`
        self.changed = dict[int, int]()  # location → those of the steps that changed it
        self.known = len(self.locations.shared)
        self._name_new()
        self._check()

    def _name_new(self) -> None:
        """Note when the processes came to be that were not there before this step."""
        for name in self.machine.processes.keys() - self.births.keys():
            self.births[name] = len(self.taken)

    def close(self) -> None:
        """Put away what the last execution left half done."""
        if self.machine is not None:
            self.machine.dispose()

    def _check(self) -> None:
        """Locations turned out to be shared: begin anew, with all that the rest of this execution shares."""
        if self.locations.grew and not self.grow:
            self.grow = True
            for _ in range(FURTHER):
                if not (able := MachineSystem.enabled(self)):
                    break
                MachineSystem.step(self, able[0])
            raise Grew(frozenset(self.locations.shared))

    def __del__(self) -> None:
        if getattr(self, "machine", None) is not None:
            self.close()

    def enabled(self) -> Sequence[Name]:
        """The processes that can take a step now, in order of name."""
        machine = self.machine
        out = []
        for name, process in machine.processes.items():
            point = process.point
            if point is None or (point.ready is not None and not self._ready(process, point)):
                continue
            if machine.gates and machine.in_the_way(process) is not None:
                continue
            out.append(name)
        out.sort()
        return out

    def _ready(self, process: Process, point: Point) -> bool:
        machine = self.machine
        before, machine.sched.current = machine.sched.current, process.context
        try:
            return point.ready is None or point.ready()
        finally:
            machine.sched.current = before

    def step(self, name: Name) -> Sequence[Access]:
        """Let a process do its operation and run on to its next point; what it touched
        that others touch too.
        """
        machine = self.machine
        process = machine.processes[name]
        machine.step(process)
        self.taken.append(name)
        self._remember(name, machine.touched)
        if len(self.taken) > MOST or len(machine.processes) > CROWD:
            raise NotAStep(
                f"an execution of more than {MOST} steps or {CROWD} threads, the last step by "
                f"{process.context.name}: an endless loop, or one that changes something each time? "
                "`depth=` bounds the steps of each thread, `sample` takes random orders"
            )
        if len(machine.processes) != len(self.births):
            self._name_new()
        self._check()
        point = process.point
        more = process.asks < MANY // TRIES  # what has not left its loop by then is taken for endless
        if point is not None and point.spins and self.tries and more:
            gives_up, opens = self._in_the_end(name, point)
            if gives_up or opens > process.isopen:
                process.asks += 1
                process.point = Point(point.spins, point.doing)  # its tries are to be explored, each a look
                process.context.waiting = None
                process.sure, process.openest = not gives_up, opens
                self.sure[len(self.taken)] = process.sure, opens
        return machine.touched

    def _in_the_end(self, name: Name, point: Point) -> tuple[bool, int]:
        """A thread looks at the same again and again. On a machine of its own, with nobody else moving after
        its last looks: does it give up at last, or do anything else? How many can come in again?
        """
        if len(self.locations.shared) != self.known:
            return False, 0  # what was run so far had other points: it cannot be run again
        looks, places = self.machine.processes[name].looks, {place for place, _ in point.accesses}
        last = looks[-len(places)]  # in which of its steps its last round begins
        past = self.pasts[name][last - 1]
        if past not in self.spinning:
            own = [number for number, each in enumerate(self.taken, 1) if each == name]
            alone = MachineSystem(self.scenario, grow=True, tries=False, **self.options)
            alone.locations.shared = copy(self.locations.shared)
            before = [(each, self.sure.get(number)) for number, each in enumerate(self.taken, 1)]
            before = before[: own[last - 1]]
            self.spinning[past] = in_the_end(
                alone, name, before, looks[-TRIES * len(places)], len(looks), places
            )
            alone.close()
        return self.spinning[past]

    def _remember(self, name: Name, accesses: Iterable[Access]) -> None:
        """Give a step a number that is the same in all executions where what led to it is the same."""
        mine = self.pasts.setdefault(name, [])
        parent = self.pasts[name[:-1]][-1] if len(name) > 1 else 0
        found = [self.changed.get(place, 0) for place, _ in accesses]
        mine.append(hash((name, mine[-1] if mine else parent, *found)))
        for place, kind in accesses:
            if kind not in LOOKS:
                self.changed[place] = hash((self.changed.get(place, 0), mine[-1]))

    def blocked(self) -> Mapping[Any, Sequence[Access]]:
        """The processes that have not ended and cannot go on, with what they would do."""
        can = set(self.enabled())
        return {
            self.word(name): self._wanted(process)
            for name, process in self.machine.processes.items()
            if process.point is not None and self.word(name) not in can
        }

    def _wanted(self, process: Process) -> tuple[Access, ...]:
        """What a process that cannot go on waits for: what it stands before, and its CPU
        if another has it.
        """
        assert process.point is not None
        gates = [
            (gate, ACQUIRE) for kind, gate in self.machine.gates_of(process) if kind not in process.holds
        ]
        return (*process.point.accesses, *gates)

    def word(self, name: Name) -> Any:
        """What the exploration calls a process."""
        return name

    def finish(self) -> Outcome:
        """The observer's answer, or who waits for whom; and what the checkers found."""
        machine = self.machine
        stuck = any(process.point is not None for process in machine.processes.values())
        if stuck:
            report_deadlock(machine)
        machine.steps.exploring = False  # the observer may run things on the machine, and comes after all
        machine.check.order.settle(machine.sched.boot, machine.sched.contexts)
        value = f"deadlock: {wait_cycle(machine)}" if stuck else self.observer()
        try:
            hash(value)
        except TypeError:
            text = f"{repr(value)[:80]}, and outcomes are counted: return text, a number, or a tuple of these"
            raise TypeError(f"the observer returned {text}") from None
        return Outcome(value, tuple(machine.findings))


class NamedSystem(MachineSystem):
    """The same, its processes known by the names of their threads, so that a schedule
    reads `cat*2 unmap*6 cat`.

    What a process sets off is called after it: `device.nvme_irq`, the second of that name
    `device.nvme_irq#2`. Signs that a schedule cannot hold become underscores.
    """

    def start(self) -> None:
        self.words: dict[Name, str] = {}
        self.named: dict[str, Name] = {}
        super().start()

    def _name_new(self) -> None:
        """Find words for the processes that have none. A parent's children are named in the order in
        which it made them.
        """
        for name in sorted(self.machine.processes.keys() - self.words.keys()):
            plain = re.sub(r"[^A-Za-z0-9_/@-]+", "_", self.machine.processes[name].context.name)
            plain = plain if plain[:1].isalpha() or plain[:1] == "_" else f"_{plain}"
            before = f"{self.words[name[:-1]]}.{plain}" if len(name) > 1 else plain
            word, number = before, 1
            while word in self.named:
                number += 1
                word = f"{before}#{number}"
            self.words[name], self.named[word], self.births[word] = word, name, len(self.taken)

    def enabled(self) -> Sequence[Any]:
        return [self.words[name] for name in super().enabled()]

    def step(self, name: Any) -> Sequence[Access]:
        return super().step(self.named[name])

    def word(self, name: Name) -> str:
        return self.words[name]
