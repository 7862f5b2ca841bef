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
from dataclasses import dataclass, field
from itertools import chain, islice

from .footprint import Footprint
from .path import Event
from .system import Process

Sleepers = Iterable[tuple[Process, Footprint]]


@dataclass(slots=True, eq=False)
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
    touch      all that `steps` touch (bits)
    """

    steps: tuple[Event, ...]
    process: Process
    footprint: Footprint
    exact: bool
    seed: int
    rivals: set[Process] = field(default_factory=set)
    born: int = 0
    touch: int = 0

    def __post_init__(self) -> None:
        touch = 0
        for step in self.steps:
            touch |= step.footprint.touch
        self.touch = touch

    @property
    def first(self) -> Process:
        """The process that moves first."""
        return self.steps[0].process if self.steps else self.process

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
        return Reversal(steps, self.process, self.footprint, self.exact, self.seed)

    def is_covered_by(self, process: Process, footprint: Footprint) -> bool:
        """Say whether a process that went first from the node after this was put there has covered it."""
        if footprint.clash & self.touch or any(step.process == process for step in self.steps):
            return False
        if process == self.process:
            return True
        if self.exact:
            return not footprint.clash & self.footprint.touch
        if self.footprint.branches and footprint.clash & self.footprint.touch:
            return False
        return process not in self.rivals


@dataclass(slots=True, eq=False)
class Doubts:
    """The inexact reversals of a node whose last steps are one process's from one local state.

    Before a node is done with, it may have thousands of them, and every execution may have
    something to tell them: who has to be told of a rival is kept for each rival, so that those that
    know are not asked again.
    """

    reversals: list[Reversal] = field(default_factory=list)
    #: how many were looked through, those of them not told
    _untold: dict[Process, tuple[int, list[Reversal]]] = field(default_factory=dict)

    def untold(self, rival: Process) -> list[Reversal]:
        """Return those that do not count a process among their `rivals`. The caller may change that."""
        looked, left = self._untold.get(rival, (0, []))
        found = [
            reversal for reversal in chain(left, self.reversals[looked:]) if rival not in reversal.rivals
        ]
        self._untold[rival] = len(self.reversals), found
        return found


@dataclass(slots=True, eq=False)
class Node:
    """A state in the tree of executions.

    sleep      sleeping process -> what its step touches: those asleep from the start, then, in order, those
               that went first from here (the one under way is added when it is done)
    pending    the reversals still to be run from here
    explored   True once some execution has been run from here
    seen       process and steps of all reversals ever put here, so that none is put twice
    doubtful   (process, seed) -> reversals ever put here whose last step is not exact
    """

    sleep: Mapping[Process, Footprint]
    pending: list[Reversal] = field(default_factory=list, init=False)
    explored: bool = False
    seen: set[tuple[Process, tuple[int, ...]]] = field(default_factory=set, init=False)
    doubtful: dict[tuple[Process, int], Doubts] = field(default_factory=dict, init=False)

    def add(self, reversal: Reversal) -> None:
        """Put a reversal here, unless it has been here before."""
        key = reversal.process, tuple([step.uid for step in reversal.steps])
        if key in self.seen:
            return
        self.seen.add(key)
        reversal.born = len(self.sleep)
        self.pending.append(reversal)
        if not reversal.exact:
            self.doubtful.setdefault((reversal.process, reversal.seed), Doubts()).reversals.append(reversal)

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
