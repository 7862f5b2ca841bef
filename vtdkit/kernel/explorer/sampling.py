"""Random schedulers, for systems too big to exhaust.

`RandomWalk` lets any process that can move go next, each as likely as the other. `Priorities` is PCT,
probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, ASPLOS 2010): every process
gets a random priority, the highest that can move goes, and at a few steps chosen beforehand the one that
would go drops to the bottom.

Both are seeded: the same seed gives the same schedules, on every computer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from .footprint import Footprints
from .path import Path
from .system import Process, System
from .tally import Tally


class Scheduler(Protocol):
    """Chooses who moves. `begin` is called before each run, with a source of random numbers."""

    def begin(self, random: Random, longest: int) -> None:
        """Prepare a run; `longest` is the number of steps of the longest run so far."""

    def choose(self, enabled: Sequence[Process], step: int) -> Process:
        """Return one of those that can move."""


class RandomWalk:
    """Any process that can move goes next, each as likely as the other."""

    def begin(self, random: Random, longest: int) -> None:
        """Take the random numbers of this run."""
        self._random = random

    def choose(self, enabled: Sequence[Process], step: int) -> Process:
        """Return one of those that can move."""
        return enabled[self._random.randrange(len(enabled))]


class Priorities:
    """PCT: random priorities, and `depth - 1` steps at which the process about to move drops to the bottom.

    A bug of depth d is one that d ordered pairs of steps are enough to cause. With n processes and k steps a
    run with the right `depth` hits it with a probability of at least 1 / (n * k**(d - 1)).
    """

    def __init__(self, depth: int = 3) -> None:
        if depth < 1:
            raise ValueError(f"a bug depth of {depth}; it is 1 or more")
        self.depth = depth

    def begin(self, random: Random, longest: int) -> None:
        """Choose where priorities change."""
        self._random = random
        self._ranks: dict[Process, float] = {}
        steps = range(1, max(longest, self.depth))
        changes = random.sample(steps, min(self.depth - 1, len(steps)))
        self._drops = {step: float(number - self.depth) for number, step in enumerate(changes)}

    def choose(self, enabled: Sequence[Process], step: int) -> Process:
        """Return the one with the highest priority."""
        for process in enabled:
            if process not in self._ranks:
                self._ranks[process] = self._random.random()
        best = max(enabled, key=self._ranks.__getitem__)
        if step in self._drops:
            self._ranks[best] = self._drops.pop(step)
            best = max(enabled, key=self._ranks.__getitem__)
        return best


@dataclass(slots=True)
class Sampled:
    """What a series of random runs left: how many different classes, and the longest run in steps."""

    classes: int = 0
    longest: int = 0


def sample(
    system: System, scheduler: Scheduler, tally: Tally, runs: int, seed: int, go_on: Callable[[Tally], bool]
) -> Sampled:
    """Run a system many times at random; everything found goes into the tally."""
    footprints = Footprints()
    classes: set[tuple[int, ...]] = set()
    result = Sampled()
    for number in range(runs):
        scheduler.begin(Random(f"{seed}:{number}"), result.longest)
        path = _one_run(system, scheduler, footprints)
        stuck = {process: footprints.of(wanted) for process, wanted in system.blocked().items()}
        tally.steps += len(path.events)
        tally.meet(path, 0)
        tally.count(path, system, stuck)
        classes.add(path.trace_uids())
        result.longest = max(result.longest, len(path.events))
        if not go_on(tally):
            break
    result.classes = len(classes)
    return result


def _one_run(system: System, scheduler: Scheduler, footprints: Footprints) -> Path:
    path = Path(system)
    system.start()
    while True:
        enabled = system.enabled()
        path.enabled.append(enabled)
        if not enabled:
            return path
        process = scheduler.choose(enabled, len(path.events))
        path.extend(process, footprints.of(system.step(process)))
