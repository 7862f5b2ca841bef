"""Small random programs over every public primitive, and what three ways to run make of them.

    program = generate(seed)        a few threads, each of a few operations (see `operations`)
    compare(program, effort)        explored, also by sections; in every order; in random ones; simulated:
                                    raises `Differs` where they do not agree

The same seed gives the same program and the same comparison. `soundness` does it for many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from random import Random
from typing import Any

import tests.kernel.explored.loops  # noqa: F401  it enters its operations
from tests.kernel.explored import naive
from tests.kernel.explored.operations import NEEDS, OPERATIONS, World
from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore
from vtdkit.kernel.machine.costs import IDEAL, Costs
from vtdkit.kernel.machine.machine import Machine

PRIMITIVES = sorted({primitive for primitive, _ in OPERATIONS.values()})
PAIRS = Random(0).sample([*combinations(PRIMITIVES, 2)], len(PRIMITIVES) * (len(PRIMITIVES) - 1) // 2)
CPUS = 4


@dataclass(frozen=True)
class Program:
    """Threads: (CPU, names of operations)."""

    seed: int
    threads: tuple[tuple[int, tuple[str, ...]], ...]

    def on(self, machine: Machine) -> Any:
        """The scenario."""
        names = {name for _, operations in self.threads for name in operations}
        world = World(machine, {need for name in names for need in NEEDS[name]})
        logs: list[list[Any]] = [[] for _ in self.threads]

        async def body(log: list[Any], operations: tuple[str, ...]) -> None:
            for name in operations:
                await OPERATIONS[name][1](world, log)

        threads = [
            machine.spawn(body(log, operations), cpu=cpu, name=f"t{number}")
            for number, (log, (cpu, operations)) in enumerate(zip(logs, self.threads, strict=True))
        ]
        del threads
        return lambda: (tuple(map(tuple, logs)), world.left())

    @property
    def primitives(self) -> set[str]:
        """What it uses."""
        return {OPERATIONS[name][0] for _, operations in self.threads for name in operations}


def generate(seed: int, size: int = 4) -> Program:
    """A program of `size` operations. The first two are of one pair of primitives, each pair in its turn."""
    random = Random(f"program {seed}")
    forms = {p: [name for name, (other, _) in OPERATIONS.items() if other == p] for p in PRIMITIVES}
    wanted = list(PAIRS[seed % len(PAIRS)])
    while len(wanted) < size:
        wanted.append(random.choice(wanted[:2] if random.random() < 0.7 else PRIMITIVES))
    random.shuffle(wanted)
    number = random.choice((2, 2, 2, 3)) if size > 3 else 2
    threads: list[list[str]] = [[] for _ in range(number)]
    for index, primitive in enumerate(wanted):
        threads[index % number].append(random.choice(forms[primitive]))
    cpus = random.choice([(0, 1, 2), (0, 1, 2), (0, 0, 1), (1, 0, 1)])
    return Program(seed, tuple((cpu, tuple(names)) for cpu, names in zip(cpus, threads, strict=False)))


class Differs(AssertionError):
    """Two ways to run a program do not agree."""


class TooMany(Exception):
    """A program has more executions than wanted."""


@dataclass(frozen=True)
class Compared:
    """How far a comparison went: `every`: each order of every operation was run; else `classes`: one order of
    each class; else random orders only."""

    every: bool
    classes: bool


def _plain(outcomes: Iterable[Hashable]) -> set[Hashable]:
    """Who waits for whom is told differently from order to order: stuck is stuck."""
    return {"stuck" if str(outcome).startswith("deadlock") else outcome for outcome in outcomes}


def _alike(told: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """So are findings: who spins on two things waits for one or the other."""
    return {(kind, "" if kind == "deadlock" else where) for kind, where in told}


def _told(found: ScenarioExploration) -> set[tuple[str, str]]:
    """Kinds and places of what was found."""
    return _alike((f.finding.kind, f.finding.where) for f in found.findings if isinstance(f.finding, Finding))


def simulated(program: Program, seed: int) -> Hashable:
    """The outcome of one simulation under random costs."""
    random = Random(f"costs {seed}")
    values = {
        name: random.choice((0, 1, 7, 30, 80))
        for name in (
            "lock",
            "atomic",
            "line_near",
            "line_far",
            "page",
            "irq",
            "irq_entry",
            "wake",
            "grace_period",
        )
    }
    costs = Costs(**{**vars_of(IDEAL), **values, "slice": random.choice((20, 500))})
    machine = Machine(CPUS, costs=costs, checkers=())
    observe = program.on(machine)
    machine.simulate(until=20_000)  # who spins until then spins for ever
    waiting = [c for c in machine.sched.contexts if not c.done and c.coro is not None and c.name != "boot"]
    return "stuck" if waiting else observe()


def vars_of(costs: Costs) -> dict[str, Any]:
    """The fields of a record."""
    return {name: getattr(costs, name) for name in costs.__dataclass_fields__}


@dataclass(frozen=True)
class Effort:
    """How far a comparison goes.

    limit        orders of a program, and classes, that are run by hand
    runs         random orders of one of which not all classes were
    beside       random orders of one of which all classes were
    simulations  under random costs
    most         executions of the explorer; a program that has more is not compared
    """

    limit: int
    runs: int
    beside: int
    simulations: int = 3
    most: int | None = None


def compare(program: Program, effort: Effort) -> Compared:
    """Run a program in all ways; raise `Differs` with what one of them shows and the others do not."""
    options: dict[str, Any] = {
        "cpus": CPUS,
        "checkers": ("races", "lockdep", "sleep", "kasan", "rcu", "lists"),
    }
    scenario = partial(_scenario, program)
    found = explore(scenario, limit=effort.most, **options)
    if not found.complete:
        if effort.most is not None and found.executions + found.deadlocks >= effort.most:
            raise TooMany(f"more than {effort.most} executions")
        raise Differs(f"{program}: not complete: {found.extent}")
    outcomes = _plain(found.outcomes)
    told = _told(found)

    # What is read from a freed page is rubbish, and all of it is reported: a row of reads is one step
    # (`XPage`).
    freed = any("use-after-free" in kind for kind, _ in told)

    def same(other: naive.Result, what: str, exactly: bool) -> None:
        theirs = _plain(other.outcomes)
        for mine, its, thing in ((outcomes, theirs, "outcomes"), (told, _alike(other.findings), "findings")):
            if freed and thing == "outcomes":
                continue
            lost, more = its - mine, mine - its if exactly else set()
            if lost or more:
                raise Differs(
                    f"{program}: {thing}: only {what}: {lost or 'none'}; only explored: {more or 'none'}"
                )

    coarse = explore(scenario, limit=effort.most, sections=True, **options)
    same(naive.Result(outcomes=Counter(coarse.outcomes), findings=_told(coarse)), "with sections", True)
    every = naive.every_order(scenario, effort.limit)
    same(every, "in some order", every.ended)
    classes = every
    if not every.ended:
        classes = naive.explore(scenario, found.shared, effort.limit)
        same(classes, "in a class", classes.ended)
        if classes.ended and (classes.executions, classes.deadlocks) != (found.executions, found.deadlocks):
            raise Differs(f"{program}: {classes.executions}+{classes.deadlocks} classes, {found!r}")
        runs = effort.beside if classes.ended else effort.runs
        same(naive.random_orders(scenario, runs, program.seed), "in a random order", False)
    # a test-and-set lock draws lots itself while it is simulated
    draws = {"random", "tas"} <= program.primitives
    for number in range(0 if draws else effort.simulations):
        outcome = simulated(program, number)
        if outcome not in outcomes and not freed:
            raise Differs(f"{program}: only simulated (costs {number}): {outcome}; explored: {outcomes}")
    return Compared(every.ended, classes.ended)


def _scenario(program: Program, machine: Machine) -> Any:
    return program.on(machine)


def met(program: Program) -> Iterator[tuple[str, str]]:
    """The pairs of primitives that a program uses, and each primitive with itself."""
    used = sorted(program.primitives)
    yield from combinations(used, 2)
    yield from ((one, one) for one in used)
