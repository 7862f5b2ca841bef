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

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .footprint import LOOK, Footprint, Footprints, Place
from .path import Path
from .system import Process, System
from .tally import Tally


@dataclass(slots=True, eq=False)
class Branch:
    """A way to go on from a state that has not been taken yet.

    order    the steps of an execution that came through the state (all its branches have the same list)
    number   how many of them lead to it
    process  who is to move there
    cost     what the schedule costs up to that step
    queued   True once it is among those to be taken
    """

    order: list[Process]
    number: int
    process: Process
    cost: int
    queued: bool = False


class SharedLocations:
    """Which locations were touched by two processes, one of them changing it; and who waits to know."""

    def __init__(self) -> None:
        self._users: dict[int, set[Process]] = defaultdict(set)
        self._changed: set[int] = set()
        self._waiting: dict[int, list[Branch]] = defaultdict(list)

    def touch(self, process: Process, footprint: Footprint) -> list[Branch]:
        """Note a step; return the branches that waited for one of its locations and must be taken now."""
        woken: list[Branch] = []
        for place in footprint.places:
            self._users[place.number].add(process)
            if place.group != LOOK:
                self._changed.add(place.number)
            if self._is_shared(place):
                woken += self._waiting.pop(place.number, ())
        return woken

    def has(self, footprint: Footprint) -> bool:
        """Say whether a step touched a location that is known to be shared."""
        return any(map(self._is_shared, footprint.places))

    def _is_shared(self, place: Place) -> bool:
        return len(self._users[place.number]) > 1 and place.number in self._changed

    def wait(self, footprint: Footprint, branches: Sequence[Branch]) -> None:
        """Keep branches until one of the locations that a step touched turns out to be shared."""
        for place in footprint.places:
            self._waiting[place.number].extend(branches)


class Bounded:
    """The search. `exceeded` tells, after `run`, whether the bound kept it from going further.

    No locks: one search, one thread.
    """

    def __init__(self, system: System, tally: Tally, bound: int, depth: int | None = None) -> None:
        self.tally = tally
        self.bound = bound
        self.exceeded = False
        self.path = Path(system, Footprints(), depth)
        self._shared = SharedLocations()
        self._visited: dict[tuple[int, Process | None], int] = {}
        self._todo: list[list[Branch]] = [[] for _ in range(bound + 1)]

    def run(self, go_on: Callable[[], bool]) -> bool:
        """Run all schedules within the bound (True), or until `go_on`, asked after each, says no (False)."""
        self._run_on([], 0)
        while (branch := self._cheapest()) is not None:
            if not go_on():
                return False
            order = branch.order[: branch.number]
            self.path = Path(self.path.system, self.path.footprints, self.path.depth)
            for process in order:
                self.path.take(process)
            self._take(order, branch.process)
            self._run_on(order, branch.cost)
        return True

    def _cheapest(self) -> Branch | None:
        # The cheapest first: then no state is reached again at a lower cost, which would open more of it.
        return next((branches.pop() for branches in self._todo if branches), None)

    def _take(self, order: list[Process], process: Process) -> Footprint:
        footprint = self.path.take(process)
        order.append(process)
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

    def _run_on(self, order: list[Process], cost: int) -> None:
        """Run to the end without further cost, noting all the ways in which it could have gone elsewhere."""
        while self._is_new(cost):
            enabled = self.path.enabled[-1]
            last = self.path.last
            if not enabled:
                self._end()
                return
            goes_on = last in enabled
            process = last if goes_on else enabled[0]
            price = cost + 1 if goes_on else cost  # of going elsewhere: a preemption, unless it had to stop
            others = [Branch(order, len(order), other, price) for other in enabled if other != process]
            footprint = self._take(order, process)
            if not goes_on or self._shared.has(footprint):
                self._queue(reversed(others))
            else:
                self._shared.wait(footprint, others)
        self.tally.blocked += 1

    def _is_new(self, cost: int) -> bool:
        """Say whether this state was not reached before with as much of the bound left."""
        last = self.path.last
        if last not in self.path.enabled[-1]:
            last = None  # whoever it was makes no difference to what can follow
        key = (hash(self.path.trace_uids()), last)
        if self._visited.get(key, self.bound + 1) <= cost:
            return False
        self._visited[key] = cost
        return True

    def _end(self) -> None:
        stuck = self.path.stuck()
        for process, wanted in stuck.items():
            self._queue(self._shared.touch(process, wanted))
        self.tally.meet(self.path, 0)
        self.tally.count(self.path, stuck)
