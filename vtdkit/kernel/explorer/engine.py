"""Optimal exploration: one execution of every equivalence class, and no other.

The engine runs the system to the end, finds the races of that execution, and puts for each race a
reversal into the node where the other order begins, unless a sleeping process covers it. Then it
goes back to the deepest node with something pending, replays the way there and runs on. This is
optimal dynamic partial-order reduction as in Abdulla, Aronis, Jonsson, Sagonas (JACM 2017, section
7), with two changes:

- Their wake-up tree is kept as a list of reversals in each node, sorted out only when a branch is taken:
  those that the branch leads into go along with it. By then it is known for certain what its first step
  touches.
- Races are looked for when the execution has ended, also with the next steps of processes that are stuck.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from .footprint import Footprints
from .path import Event, Path, bits
from .races import foresight, races_of
from .system import Process, System
from .tally import Tally
from .tree import Doubts, Node, Reversal, covered_before, undisturbed


class NotRepeatable(RuntimeError):
    """A system did something else when the same steps were taken again."""


class Engine:
    """Explores a system from its start. No locks: one engine, one thread.

    system  what is explored
    tally   what was found so far
    depth   how many steps a process may take, or None
    """

    def __init__(self, system: System, tally: Tally, depth: int | None) -> None:
        self.tally = tally
        self.path = Path(system, Footprints(), depth)
        self.nodes = [Node({})]  # nodes[i] is the state before step i of the path
        self._fresh = 0  # steps of the path before this one were taken, and counted, before

    def run(self, go_on: Callable[[], bool]) -> bool:
        """Explore until all is done (True) or until `go_on`, asked after each execution, says no (False)."""
        while True:
            enough = False
            while (process := self._choose(self.nodes[-1])) is not None:
                self._step(process)
            if not self.nodes[-1].explored:
                self._end()
                enough = not go_on()
            if not self._backtrack():
                return True
            if enough:
                return False

    # -- running on

    def _choose(self, node: Node) -> Process | None:
        """Return who moves next, or None if nothing is left to be run from this node."""
        enabled = self.path.enabled[-1]
        while node.pending:
            reversal = node.pending[0]
            if (
                reversal.first in enabled
                and reversal.first not in node.sleep
                and not node.is_covered(reversal)
            ):
                return reversal.first
            del node.pending[0]
        if node.explored:
            return None
        events = self.path.events
        last = events[-1].process if events else None
        if last in enabled and last not in node.sleep:
            return last
        return next((process for process in enabled if process not in node.sleep), None)

    def _step(self, process: Process) -> None:
        node = self.nodes[-1]
        taken = node.take_along(process) if node.pending else ()
        touch = self.path.take(process).touch
        sleep = node.sleep and {
            sleeper: touched
            for sleeper, touched in node.sleep.items()
            if not touched.clash & touch and sleeper != process
        }
        child = Node(sleep)
        for reversal in taken:
            child.add(reversal)
        self.nodes.append(child)

    def _end(self) -> None:
        """Count the execution that has come to its end, and look for the other orders of its races."""
        events = self.path.events
        stuck = self.path.stuck()
        self.nodes[-1].explored = True
        self.tally.steps += len(events) - self._fresh
        self.tally.meet(self.path, self._fresh)
        if self.path.enabled[-1]:
            self.tally.blocked += 1
        else:
            self.tally.count(self.path, stuck)
        reversible: dict[tuple[int, int], list[tuple[int, Event]]] = {}
        after = self.path.followers()
        nexts = [(len(events), self.path.next_event(process, wanted)) for process, wanted in stuck.items()]
        for limit, late in chain(enumerate(events), nexts):
            if late.direct & ~late.known and late.races != ():
                for race in races_of(self.path, after, late, limit):
                    reversible.setdefault(race, []).append((limit, late))
        for (index, rest), lates in reversible.items():
            self._consider(index, rest, lates)

    # -- races

    def _consider(self, index: int, rest: int, lates: Sequence[tuple[int, Event]]) -> None:
        """Put reversals of races with step `index` into the node before it, unless
        they are covered there.
        """
        path = self.path
        node = self.nodes[index]
        steps = tuple([path.events[number] for number in bits(rest)])
        if node.doubtful:
            self._note_rivals(node.doubtful, index, rest, lates)
        left = undisturbed(node.sleep.items(), steps)
        if left is None:
            return
        for limit, late in lates:
            exact, met = foresight(path, late, limit, index, rest)
            if left and covered_before(left, late.process, late.footprint, exact):
                continue
            reversal = Reversal(steps, late.process, late.footprint, exact, path.seed_of(late))
            if met:
                reversal.rivals.add(path.events[index].process)
            node.add(reversal)

    def _note_rivals(
        self,
        doubtful: Mapping[tuple[Process, int], Doubts],
        index: int,
        rest: int,
        lates: Sequence[tuple[int, Event]],
    ) -> None:
        """Tell doubtful reversals that their last step conflicts with the step that went
        first here this time.
        """
        path = self.path
        rival = path.events[index].process
        for limit, late in lates:
            doubts = doubtful.get((late.process, path.seed_of(late)))
            untold = doubts.untold(rival) if doubts is not None else ()
            if untold and foresight(path, late, limit, index, rest)[1]:
                for reversal in untold:
                    if self._same_content(reversal, late, index, rest):
                        reversal.rivals.add(rival)

    def _same_content(self, reversal: Reversal, late: Event, index: int, rest: int) -> bool:
        """Say whether a step would find the same after a reversal's steps as after `rest`,
        where it looks first.

        "First" is up to a place that step `index` changes: there the two are known to meet.
        """
        for place in late.footprint.places:
            here = self.path.content(place.number, index, rest)
            if self.path.content(place.number, index, 0, reversal.steps) != here:
                return False
            if self.path.events[index].footprint.changes >> 3 * place.number & 7:
                return True
        return True

    # -- going back

    def _backtrack(self) -> bool:
        """Go back to the deepest node with something to run, and bring the system there. False
        if there is none.
        """
        while self.path.events:
            event = self.path.retract()
            self.nodes.pop()
            node = self.nodes[-1]
            node.explored = True
            if node.pending:  # all executions in which this process goes first from here are taken care of
                node.sleep = {**node.sleep, event.process: event.footprint}
                if self._choose(node) is not None:
                    self._replay()
                    return True
        return False

    def _replay(self) -> None:
        """Bring the system to the end of the path."""
        system = self.path.system
        system.start()
        self._fresh = len(self.path.events)
        for number, event in enumerate(self.path.events):
            accesses = system.step(event.process)
            if accesses != event.footprint.accesses and tuple(accesses) != event.footprint.accesses:
                raise NotRepeatable(
                    f"step {number}, by process {event.process!r}, touched "
                    f"{self.path.footprints.of(accesses)!r} when replayed, but {event.footprint!r} before: "
                    "the system must do the same at every start"
                )
