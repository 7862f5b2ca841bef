"""The ways to run a system under many schedules: all that matter, those with few preemptions, or random ones.

    explore_system(factory)                   every class of executions once (optimal partial-order reduction)
    explore_system(factory, preemptions=2)    every class that some schedule with so few preemptions shows
    random_walk(factory, runs=1000, seed=1)   a sample
    pct(factory, runs=1000, depth=3, seed=1)  a sample that finds bugs of small depth with a known probability

All return an `Exploration`. An error raised by the system goes to the caller as it is. Ctrl-C ends the
search, and what was found so far is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from .bounded import Bounded
from .engine import Engine
from .footprint import Footprints
from .path import Path
from .result import Exploration, count_text, exploration_of
from .sampling import MakeScheduler, Priorities, RandomWalk
from .system import SystemFactory
from .tally import OnOutcome, Tally


def explore_system(
    system_factory: SystemFactory,
    *,
    preemptions: int | None = None,
    depth: int | None = None,
    limit: int | None = None,
    on_outcome: OnOutcome | None = None,
) -> Exploration:
    """Run every execution of a system that matters, and only those; return what was found.

    - preemptions: run only what up to so many preemptions (switches away from a process that could go on)
      can show
    - depth: let no process take more than so many steps
    - limit: stop after so many executions
    - on_outcome: called with (outcome, schedule) at the end of each execution; a true answer ends the search

    ValueError for a bound that is none; what the system raises is passed on.

    >>> from vtdkit.kernel.explorer import WRITE, Outcome, explore_system
    >>> class Two:  # two processes, one step each, on one location
    ...     def start(self): self.order = []
    ...     def born(self, process): return 0
    ...     def enabled(self): return [p for p in (0, 1) if p not in self.order]
    ...     def step(self, process): self.order.append(process); return (("x", WRITE),)
    ...     def blocked(self): return {}
    ...     def finish(self): return Outcome(f"last: {self.order[-1]}")
    >>> explore_system(Two)
    2 executions: complete
            1 x  'last: 0'
            1 x  'last: 1'
      findings: none
      coverage: 1 pair of dependent operations in both orders, 0 in one only
    """
    for name, number, least in (("preemptions", preemptions, 0), ("depth", depth, 1), ("limit", limit, 1)):
        if number is not None and number < least:
            raise ValueError(f"{name}={number}; it must be {least} or more, or None for no bound")
    tally = Tally(on_outcome)
    bounds = []
    if preemptions is None:
        stopped = _stopped(Engine(system_factory(), tally, depth).run, tally, limit)
    else:
        search = Bounded(system_factory(), tally, preemptions, depth)
        stopped = _stopped(search.run, tally, limit)
        if search.exceeded:
            bounds.append(count_text(preemptions, "preemption"))
    if depth is not None and tally.cut:
        bounds.append(f"{count_text(depth, 'step')} of each process")
    extent = f"complete up to {' and '.join(bounds)}" if bounds else "complete"
    return exploration_of(tally, stopped or extent)


def random_walk(
    system_factory: SystemFactory,
    *,
    runs: int = 1000,
    seed: int = 0,
    on_outcome: OnOutcome | None = None,
) -> Exploration:
    """Run a system many times, whoever can move being as likely to go next as any other.

    The same seed gives the same runs on every computer.
    """
    return _sampled(system_factory, RandomWalk, "random", runs, seed, None, on_outcome)


def pct(
    system_factory: SystemFactory,
    *,
    runs: int = 1000,
    depth: int = 3,
    seed: int = 0,
    longest: int | None = None,
    on_outcome: OnOutcome | None = None,
) -> Exploration:
    """Run a system many times with random priorities that change at `depth - 1` random steps (PCT).

    A bug that d ordered pairs of steps are enough to cause shows in one run of depth d with a probability of
    at least 1 / (n * k**(d - 1)), n being the number of processes and k that of steps (Burckhardt, Kothari,
    Musuvathi, Nagarakatte, "A randomized scheduler with probabilistic guarantees of finding bugs", ASPLOS
    2010, theorem 9). `longest` bounds the steps of each process: a process of high priority that loops for
    ever lets nobody else move.
    """
    if depth < 1:
        raise ValueError(f"a bug depth of {depth}; it is 1 or more")
    scheduler = partial(Priorities, depth=depth)
    return _sampled(system_factory, scheduler, f"PCT (depth {depth})", runs, seed, longest, on_outcome)


def _sampled(
    system_factory: SystemFactory,
    make_scheduler: MakeScheduler,
    name: str,
    runs: int,
    seed: int,
    depth: int | None,
    on_outcome: OnOutcome | None,
) -> Exploration:
    if runs < 1:
        raise ValueError(f"runs={runs}; it must be 1 or more")
    tally = Tally(on_outcome)
    system = system_factory()
    footprints = Footprints()
    classes = set[tuple[int, ...]]()

    def walk(go_on: Callable[[], bool]) -> bool:
        longest = 0  # run so far, in steps
        while tally.ended < runs and go_on():
            scheduler = make_scheduler(Random(f"{seed}:{tally.ended}"), longest)
            path = Path(system, footprints, depth)
            while enabled := path.enabled[-1]:
                path.take(scheduler.choose(enabled, len(path.events)))
            longest = max(longest, len(path.events))
            tally.steps += len(path.events)
            tally.meet(path, 0)
            classes.add(path.trace_uids())
            tally.count(path, path.stuck())
        return tally.ended == runs

    stopped = _stopped(walk, tally, None)
    extent = f"a sample: {tally.ended} {name} runs with seed {seed}, {len(classes)} different"
    return exploration_of(tally, f"{extent}; {stopped}" if stopped else extent)


def _stopped(search: Callable[[Callable[[], bool]], bool], tally: Tally, limit: int | None) -> str:
    """Run a search, which asks after each execution whether to go on. Why it ended early, or ""."""
    try:
        if search(lambda: not tally.stopped and tally.ended != limit):
            return ""
        why = "by on_outcome" if tally.stopped else f"at the limit of {limit},"
    except KeyboardInterrupt:
        why = "by the user"
    return f"stopped {why} after {count_text(tally.ended, 'execution')}"
