"""Random schedulers, for systems too big to exhaust.

`RandomWalk` lets any process that can move go next, each as likely as the other. `Priorities` is PCT,
probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, "A randomized scheduler with
probabilistic guarantees of finding bugs", ASPLOS 2010): every process gets a random priority, the highest
that can move goes, and at a few steps chosen beforehand the one that would go drops to the bottom.

A scheduler is made anew for each run, with a source of random numbers and the number of steps of the longest
run so far. What it chooses depends on these alone: the same seed gives the same schedules on every computer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol

from .system import Process


class Scheduler(Protocol):
    """Chooses who moves in one run."""

    def choose(self, enabled: Sequence[Process], step: int) -> Process:
        """Return one of those that can move; `step` steps were taken before."""


MakeScheduler = Callable[[Random, int], Scheduler]
"""Makes one from random numbers and the number of steps of the longest run so far."""


class RandomWalk:
    """Any process that can move goes next, each as likely as the other."""

    def __init__(self, random: Random, longest: int) -> None:
        self._random = random

    def choose(self, enabled: Sequence[Process], step: int) -> Process:
        """Return one of those that can move."""
        return enabled[self._random.randrange(len(enabled))]


class Priorities:
    """PCT: random priorities, and `depth - 1` steps at which the process about to move drops to
    the bottom.
    """

    def __init__(self, random: Random, longest: int, *, depth: int) -> None:
        self._random = random
        self._ranks: dict[Process, float] = {}
        steps = range(1, max(longest, depth))
        changes = random.sample(steps, min(depth - 1, len(steps)))
        self._drops = {step: float(number - depth) for number, step in enumerate(changes)}

    def choose(self, enabled: Sequence[Process], step: int) -> Process:
        """Return the one with the highest priority."""
        for process in enabled:
            if process not in self._ranks:
                self._ranks[process] = self._random.random()
        best = max(enabled, key=self._ranks.__getitem__)
        if step in self._drops:
            self._ranks[best] = self._drops[step]
            best = max(enabled, key=self._ranks.__getitem__)
        return best
