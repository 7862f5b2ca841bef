"""Bounded exploration: all that can happen with few preemptions.

A *preemption* is a switch away from a process that could have gone on. Switching when it cannot is free.

The search is complete up to its bound: of every class that has some schedule within the bound, one execution
is run. It does not use sleep sets or race reversals, which a bound makes unsound. Instead it goes through the
bounded schedules as CHESS did (Musuvathi, Qadeer, PLDI 2007) and leaves out what is safe to leave out:

- Steps run earlier in another order are recognised by their causal past: a state reached a second time, with
  the same process under way and no more of the bound left, is not gone into again.
- A process is interrupted only before a step that touches a *shared* location, one that two processes were
  seen to touch, one of them changing it. Interrupted before any other step it could as well have taken
  that step first. When a location turns out to be shared, the interruptions that were left out because of
  it are made up for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from .footprint import LOOK, Footprint, Footprints
from .path import Path
from .system import Process, System
from .tally import Tally

Trail = tuple["Trail | None", Process]
"""The steps up to a state, as a chain: (the chain before, who moved last)."""


class Branch:
    """A way to go on from a state that has not been taken yet.

    trail    the steps that lead to the state, or None for the start
    process  who is to move there
    cost     what the schedule costs up to that step
    queued   True once it is among those to be taken
    """

    __slots__ = ("cost", "process", "queued", "trail")

    def __init__(self, trail: Trail | None, process: Process, cost: int) -> None:
        self.trail = trail
        self.process = process
        self.cost = cost
        self.queued = False


class SharedLocations:
    """Which locations were touched by two processes, one of them changing it; and who waits to know."""

    def __init__(self) -> None:
        self._users: dict[int, set[Process]] = {}
        self._changed: set[int] = set()
        self._waiting: dict[int, list[Branch]] = {}

    def touch(self, process: Process, footprint: Footprint) -> list[Branch]:
        """Note a step; return the branches that waited for one of its locations and must be taken now."""
        woken: list[Branch] = []
        for place in footprint.places:
            users = self._users.setdefault(place.number, set())
            users.add(process)
            if place.group != LOOK:
                self._changed.add(place.number)
            if len(users) > 1 and place.number in self._changed:
                woken += self._waiting.pop(place.number, ())
        return woken

    def has(self, footprint: Footprint) -> bool:
        """Say whether a step touched a location that is known to be shared."""
        return any(
            len(self._users.get(place.number, ())) > 1 and place.number in self._changed
            for place in footprint.places
        )

    def wait(self, footprint: Footprint, branches: Sequence[Branch]) -> None:
        """Keep branches until one of the locations that a step touched turns out to be shared."""
        for place in footprint.places:
            self._waiting.setdefault(place.number, []).extend(branches)


class Bounded:
    """The search. `exceeded` tells, after `run`, whether the bound kept it from going further.

    No locks: one search, one thread.
    """

    def __init__(self, system: System, footprints: Footprints, tally: Tally, bound: int) -> None:
        self.system = system
        self.footprints = footprints
        self.tally = tally
        self.bound = bound
        self.exceeded = False
        self.path = Path(self.system)
        self._shared = SharedLocations()
        self._visited: dict[tuple[int, Process | None], int] = {}
        self._todo: list[list[Branch]] = [[] for _ in range(bound + 1)]

    def run(self, go_on: Callable[[Tally], bool]) -> bool:
        """Run all schedules within the bound (True), or until `go_on`, asked after each, says no (False)."""
        self.system.start()
        self.path.enabled.append(self.system.enabled())
        self._run_on(None, 0)
        while (branch := self._cheapest()) is not None:
            if not go_on(self.tally):
                return False
            self._go_to(branch.trail)
            self._take(branch.process)
            self._run_on((branch.trail, branch.process), branch.cost)
        return True

    def _cheapest(self) -> Branch | None:
        # The cheapest first: then no state is reached again at a lower cost, which would open more of it.
        return next((branches.pop() for branches in self._todo if branches), None)

    def _go_to(self, trail: Trail | None) -> None:
        """Bring the system, and the path, to the end of a trail."""
        steps = []
        while trail is not None:
            trail, process = trail
            steps.append(process)
        steps.reverse()
        path = self.path
        same = 0
        for event, process in zip(path.events, steps, strict=False):
            if event.process != process:
                break
            same += 1
        while len(path.events) > same:
            path.retract()
            path.enabled.pop()
        self.system.start()
        for number, process in enumerate(steps):
            accesses = self.system.step(process)
            if number >= same:
                path.extend(process, self.footprints.of(accesses))
                path.enabled.append(self.system.enabled())

    def _take(self, process: Process) -> Footprint:
        footprint = self.footprints.of(self.system.step(process))
        self.path.extend(process, footprint)
        self.path.enabled.append(self.system.enabled())
        self.tally.steps += 1
        self._queue(self._shared.touch(process, footprint))
        return footprint

    def _queue(self, branches: Iterable[Branch]) -> None:
        for branch in branches:
            if branch.cost > self.bound:
                self.exceeded = True
            elif not branch.queued:
                branch.queued = True
                self._todo[branch.cost].append(branch)

    def _run_on(self, trail: Trail | None, cost: int) -> None:
        """Run to the end without further cost, noting all the ways in which it could have gone elsewhere."""
        while self._is_new(cost):
            options = list(self._options())
            if not options:
                self._end()
                return
            process = options[0][1]
            others = [Branch(trail, other, cost + more) for more, other in options[1:]]
            footprint = self._take(process)
            free = [branch for branch in others if branch.cost == cost]
            self._queue(reversed(free))
            paid = [branch for branch in others if branch.cost > cost]
            if self._shared.has(footprint):
                self._queue(reversed(paid))
            elif paid:
                self._shared.wait(footprint, paid)
            trail = (trail, process)
        self.tally.blocked += 1

    def _is_new(self, cost: int) -> bool:
        """Say whether this state was not reached before with as much of the bound left."""
        last = self.path.events[-1].process if self.path.events else None
        enabled = self.path.enabled[-1]
        if not enabled or last not in enabled:
            last = None  # whoever it was makes no difference to what can follow
        key = (hash(self.path.trace_uids()), last)
        if self._visited.get(key, self.bound + 1) <= cost:
            return False
        self._visited[key] = cost
        return True

    def _options(self) -> Iterator[tuple[int, Process]]:
        """Yield (cost, process) for all who can move, the one that moves for nothing first."""
        enabled = self.path.enabled[-1]
        last = self.path.events[-1].process if self.path.events else None
        if last in enabled:
            yield 0, last
            for process in enabled:
                if process != last:
                    yield 1, process
        else:
            for process in enabled:
                yield 0, process

    def _end(self) -> None:
        stuck = {process: self.footprints.of(wanted) for process, wanted in self.system.blocked().items()}
        for process, wanted in stuck.items():
            self._queue(self._shared.touch(process, wanted))
        self.tally.meet(self.path, 0)
        self.tally.count(self.path, self.system, stuck)
