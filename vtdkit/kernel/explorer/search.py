"""The ways to run a system under many schedules: all that matter, those with few preemptions, or random ones.

    explore_system(factory)                   every class of executions once (optimal partial-order reduction)
    explore_system(factory, preemptions=2)    every class that some schedule with so few preemptions shows
    random_walk(factory, runs=1000, seed=1)   a sample
    pct(factory, runs=1000, depth=3, seed=1)  a sample that finds bugs of small depth with a known probability

All return an `Exploration`. An error raised by the system goes to the caller as it is. Ctrl-C ends the search
after the execution under way, and what was found so far is returned; a second Ctrl-C interrupts at once.
"""

from __future__ import annotations

from collections.abc import Callable

from .bounded import Bounded
from .bounds import Truncated
from .engine import Engine
from .footprint import Footprints
from .result import Exploration, exploration_of
from .sampling import Priorities, RandomWalk, Scheduler, sample
from .schedule import Schedule
from .stopping import Stopping
from .system import Outcome, System, SystemFactory
from .tally import Tally

OnOutcome = Callable[[Outcome, Schedule], object]
"""Called at the end of each execution; true means: enough."""


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
    tally = Tally()
    if on_outcome is not None:
        tally.watch = lambda outcome, steps: on_outcome(outcome, Schedule(steps))
    with Stopping(limit) as stop:
        if preemptions is not None:
            search = Bounded(_system(system_factory, depth), Footprints(), tally, preemptions)
            done = search.run(stop.go_on)
            switches = f"{preemptions} preemption{'' if preemptions == 1 else 's'}"
            bound = switches if search.exceeded else None
            return exploration_of(tally, *extent_of(tally, done, stop, depth=depth, bound=bound))
        done = Engine(_system(system_factory, depth), Footprints(), tally).run(stop.go_on)
        return exploration_of(tally, *extent_of(tally, done, stop, depth=depth))


def _system(factory: SystemFactory, depth: int | None) -> System:
    system = factory()
    return system if depth is None else Truncated(system, depth)


def extent_of(
    tally: Tally, done: bool, stop: Stopping, *, depth: int | None = None, bound: str | None = None
) -> tuple[bool, str]:
    """Return whether an exploration is complete, and the sentence that says up to what."""
    if not done:
        return False, stop.reason(tally)
    bounds = [bound] if bound is not None else []
    if tally.cut:
        bounds.append(f"{depth} step{'' if depth == 1 else 's'} of each process")
    return (False, f"complete up to {' and '.join(bounds)}") if bounds else (True, "complete")


def random_walk(
    system_factory: SystemFactory,
    *,
    runs: int = 1000,
    seed: int = 0,
    depth: int | None = None,
    on_outcome: OnOutcome | None = None,
) -> Exploration:
    """Run a system many times, whoever can move being as likely to go next as any other.

    depth bounds the steps of each process. The same seed gives the same runs on every computer.
    """
    return _sampled(system_factory, RandomWalk(), "random", runs, seed, depth, on_outcome)


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
    2010, theorem 9). `longest` bounds the steps of each process.
    """
    return _sampled(
        system_factory, Priorities(depth), f"PCT (depth {depth})", runs, seed, longest, on_outcome
    )


def _sampled(
    factory: SystemFactory,
    scheduler: Scheduler,
    name: str,
    runs: int,
    seed: int,
    depth: int | None,
    on_outcome: OnOutcome | None,
) -> Exploration:
    if runs < 1:
        raise ValueError(f"runs={runs}; it must be 1 or more")
    tally = Tally()
    if on_outcome is not None:
        tally.watch = lambda outcome, steps: on_outcome(outcome, Schedule(steps))
    with Stopping(None) as stop:
        sampled = sample(_system(factory, depth), scheduler, tally, runs, seed, stop.go_on)
    extent = f"a sample: {tally.ended} {name} runs with seed {seed}, {sampled.classes} different"
    if tally.ended < runs:
        extent += f"; {stop.reason(tally)}"
    return exploration_of(tally, False, extent)
