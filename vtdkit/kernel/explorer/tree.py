"""The tree of executions: what is still to be run from a state, and what need not be.

A `Node` is a state, reached by one sequence of steps. In it:

- `sleep` holds processes whose next step need not be run first from here, because all executions that
  begin with it have been, or are being, run elsewhere. A sleeper wakes when a step that conflicts with
  its own is run.
- `pending` holds `Reversal`s: sequences of steps with which further executions from here are to begin.
  They stand for the wake-up tree of optimal partial-order reduction: each wakes every sleeper, so no
  execution is begun that would turn out to be a reordering of another one.

A reversal's last step is special. The steps before it were seen to happen and will happen again
exactly so. The last one was seen to happen *after* the step it is now to precede, so it may touch
something else this time: a compare-and-swap that failed may succeed. Where that matters it is told
by `exact` and `rivals`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice

from .footprint import Footprint
from .path import Event
from .system import Process

Sleepers = Iterable[tuple[Process, Footprint]]
NOBODY: Mapping[Process, Footprint] = {}


class Reversal:
    """Steps to be run from a node, the last one by a process that came too late for it before.

    steps      what is run first; seen before, and certain to happen again
    process    who moves then
    footprint  what that last step touched when it was seen
    exact      True if it is sure to touch the same here
    seed       uid of the process's step before, which tells its local state
    born       how many sleepers the node had when this was put there
    rivals     processes asleep in the node that are known to conflict with the last step (used if not
               exact)
    blind      True if nobody looks after `rivals`, since the node's branches are explored in different
               places
    touch      all that `steps` touch (bits)
    """

    __slots__ = ("blind", "born", "exact", "footprint", "process", "rivals", "seed", "steps", "touch")

    def __init__(
        self, steps: Sequence[Event], process: Process, footprint: Footprint, exact: bool, seed: int
    ) -> None:
        self.steps = tuple(steps)
        self.process = process
        self.footprint = footprint
        self.exact = exact
        self.seed = seed
        self.born = 0
        self.rivals: set[Process] = set()
        self.blind = False
        self.touch = 0
        for step in steps:
            self.touch |= step.footprint.touch

    def __repr__(self) -> str:
        return " ".join(str(step.process) for step in self.steps) + f" {self.process}!"

    @property
    def first(self) -> Process:
        """The process that moves first."""
        return self.steps[0].process if self.steps else self.process

    @property
    def key(self) -> tuple[Process, tuple[int, ...]]:
        """What makes two reversals of one node the same."""
        return self.process, tuple([step.uid for step in self.steps])

    def place_of(self, process: Process) -> int | None:
        """Return where among `steps` a process moves first, if it could as well have moved
        before all of them.
        """
        for number, step in enumerate(self.steps):
            if step.process == process:
                clash = step.footprint.clash
                return None if any(other.footprint.touch & clash for other in self.steps[:number]) else number
        return None

    def without(self, number: int) -> Reversal:
        """Return what is left to do once one of `steps` has been done first."""
        steps = self.steps[:number] + self.steps[number + 1 :]
        shorter = Reversal(steps, self.process, self.footprint, self.exact, self.seed)
        shorter.blind = self.blind
        return shorter

    def is_covered_by(self, process: Process, footprint: Footprint) -> bool:
        """Say whether a process that went first from the node after this was put there has covered it."""
        if footprint.clash & self.touch or any(step.process == process for step in self.steps):
            return False
        if process == self.process:
            return True
        if self.exact:
            return not footprint.clash & self.footprint.touch
        if self.blind or (self.footprint.branches and footprint.clash & self.footprint.touch):
            return False
        return process not in self.rivals


class Doubts:
    """The inexact reversals of a node whose last steps are one process's from one local state.

    Before a node is done with, it may have thousands of them, and every execution may have
    something to tell them: who has to be told of a rival is kept for each rival, so that those that
    know are not asked again.
    """

    __slots__ = ("_untold", "reversals")

    def __init__(self) -> None:
        self.reversals: list[Reversal] = []
        self._untold: dict[
            Process, tuple[int, list[Reversal]]
        ] = {}  # how many were looked through, those of them not told

    def untold(self, rival: Process) -> list[Reversal]:
        """Return those that do not count a process among their `rivals`. The caller may change that."""
        looked, left = self._untold.get(rival, (0, []))
        found = [
            reversal for reversal in chain(left, self.reversals[looked:]) if rival not in reversal.rivals
        ]
        self._untold[rival] = len(self.reversals), found
        return found


class Node:
    """A state in the tree of executions.

    sleep      sleeping process -> what its step touches; those asleep from the start first, then, in order,
               those that went first from here (the one under way is added when it is done)
    inherited  how many were asleep from the start
    pending    the reversals still to be run from here
    explored   True once some execution has been run from here
    children   nodes below that are kept because something is, or may yet become, pending in them
    seen       keys of all reversals ever put here, so that none is put twice
    doubtful   (process, seed) -> reversals ever put here whose last step is not exact
    open       True if something may be pending here or below (kept up to date for nodes in `children`)
    inbox      reversals that came while the node was away, being explored elsewhere; None if it is not
    """

    __slots__ = ("children", "doubtful", "explored", "inbox", "inherited", "open", "pending", "seen", "sleep")

    def __init__(self, sleep: Mapping[Process, Footprint]) -> None:
        self.sleep = sleep
        self.inherited = len(sleep)
        self.pending: list[Reversal] = []
        self.explored = False
        self.children: dict[Process, Node] = {}
        self.seen: set[tuple[Process, tuple[int, ...]]] | None = None
        self.doubtful: dict[tuple[Process, int], Doubts] | None = None
        self.open = True
        self.inbox: list[Reversal] | None = None

    def add(self, reversal: Reversal) -> None:
        """Put a reversal here, unless it has been here before."""
        if self.seen is None:
            self.seen = set()
        key = reversal.key
        if key in self.seen:
            return
        self.seen.add(key)
        reversal.born = len(self.sleep)
        self.pending.append(reversal)
        if not reversal.exact:
            if self.doubtful is None:
                self.doubtful = {}
            self.doubtful.setdefault((reversal.process, reversal.seed), Doubts()).reversals.append(reversal)

    def put_to_sleep(self, process: Process, footprint: Footprint) -> None:
        """Note that all executions in which a process goes first from here are taken care of."""
        self.explored = True
        self.sleep = {**self.sleep, process: footprint}

    def asleep_before(self, origin: Process) -> Sleepers:
        """Yield who had fallen asleep here when `origin` went first."""
        if origin not in self.sleep:
            return self.sleep.items()
        return list(self.sleep.items())[: list(self.sleep).index(origin)]

    def is_covered(self, reversal: Reversal) -> bool:
        """Say whether what went first from here since a reversal was put here has made it superfluous."""
        if reversal.born == len(self.sleep):
            return False
        return any(
            reversal.is_covered_by(process, footprint)
            for process, footprint in islice(self.sleep.items(), reversal.born, None)
        )

    def take_along(self, process: Process) -> list[Reversal]:
        """Remove and return the reversals that a first step of this process leads into, less that step."""
        taken = []
        kept = []
        for reversal in self.pending:
            number = reversal.place_of(process)
            if number is not None:
                if not self.is_covered(reversal):
                    taken.append(reversal.without(number))
            elif reversal.steps or reversal.process != process:
                kept.append(reversal)
        self.pending = kept
        return taken


def unsettled_below(node: Node, live: frozenset[Process], child: Node) -> frozenset[Process]:
    """Return the sleepers of a child in whose own executions something may still be found.

    They are among those of the node (`live`), and those that went first from the node and are kept there.
    """
    return frozenset(
        [
            sleeper
            for sleeper in islice(child.sleep, child.inherited)
            if sleeper in live or sleeper in node.children
        ]
    )


def prune(root: Node, live: frozenset[Process]) -> None:
    """Forget the nodes below a root where nothing is to be run and nothing can come any more."""
    rows = [(root, live)]
    for node, asleep in rows:
        for name in node.sleep:
            if name in node.children:
                child = node.children[name]
                rows.append((child, unsettled_below(node, asleep, child)))
    needed = {id(node) for node, asleep in rows if asleep}
    for node, _ in reversed(rows):
        for process, child in list(node.children.items()):
            if not child.open and not child.children and id(child) not in needed:
                del node.children[process]


def undisturbed(sleep: Sleepers, steps: Sequence[Event]) -> list[tuple[Process, Footprint]] | None:
    """Return the sleepers that some steps do not wake; None if one of them would
    itself move, still asleep.
    """
    left = []
    for process, footprint in sleep:
        clash = footprint.clash
        for step in steps:
            if step.process == process:
                return None
            if step.footprint.touch & clash:
                break
        else:
            left.append((process, footprint))
    return left


def covered_before(left: Sleepers, process: Process, footprint: Footprint, exact: bool) -> bool:
    """Say whether a reversal is superfluous because of one of the sleepers that its first
    steps do not wake.

    `process` and `footprint` are those of its last step. If that step may touch something else than was
    seen, a sleeper that only looks at what it changes has met it in its true form, in executions already
    run.
    """
    for sleeper, touched in left:
        if sleeper == process or not touched.clash & footprint.touch:
            return True
        if not exact and not footprint.branches and not touched.changes & footprint.clash:
            return True
    return False


def offer_late(node: Node, origin: Process, reversal: Reversal) -> None:
    """Put a reversal of a race with `origin`'s step into a node where others went
    first since `origin` did.
    """
    settle(node, list(node.sleep).index(origin) + 1, reversal)


def settle(node: Node, start: int, reversal: Reversal) -> None:
    """Put a reversal where it belongs, in a node or below.

    It goes down with the first of those that went first from the node (the sleepers from number `start`
    on) that it begins with, if more may have to be run there, and so on below.
    """
    while True:
        process, number = _way_down(node, start, reversal)
        if number is None:
            if process is None:
                node.open = True
                node.add(reversal)
            return
        child = node.children.get(process)
        if child is None:
            return
        node.open = True
        reversal = reversal.without(number)
        if child.inbox is not None:
            child.inbox.append(reversal)
            return
        node, start = child, child.inherited


def _way_down(node: Node, start: int, reversal: Reversal) -> tuple[Process | None, int | None]:
    """Return who of those that went first from a node begins a reversal, and with which of its steps.

    (process, None) if somebody has covered it; (None, None) if it is new here.
    """
    for process, footprint in islice(node.sleep.items(), start, None):
        number = reversal.place_of(process)
        if number is not None:
            return process, number
        if (reversal.exact or process == reversal.process) and reversal.is_covered_by(process, footprint):
            return process, None
    return None, None
