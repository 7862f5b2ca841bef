"""Small random programs over every public primitive, and what three ways to run make of them.

    program = generate(seed)        a few threads, each of a few operations (see `operations`)
    compare(program)                explored, in every order, in random orders, simulated: raises `Differs`

    python -m tests.kernel.explored.generated 20000 --seed 0 --jobs 2     the nightly job, `make soundness`

A seed that differs is printed; the same seed gives the same program and the same comparison. Programs that
took part are counted by primitive and by pair of primitives; a gap is a failure.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from random import Random
from typing import Any

from tests.kernel.explored import naive
from tests.kernel.explored.operations import MAKERS, NEEDS, OPERATIONS, World
from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.explored.exploring import explore
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


@dataclass(frozen=True)
class Compared:
    """How far a comparison went: `every`: each order of every operation was run; else `classes`: one order of
    each class; else random orders only."""

    every: bool
    classes: bool


def _plain(outcomes: Iterable[Hashable]) -> set[Hashable]:
    """Who waits for whom is told differently from order to order: stuck is stuck."""
    return {"stuck" if str(outcome).startswith("deadlock") else outcome for outcome in outcomes}


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


def compare(program: Program, limit: int = 150, runs: int = 12, simulations: int = 3) -> Compared:
    """Run a program in all ways; raise `Differs` with what one of them shows and the others do not."""
    options: dict[str, Any] = {
        "cpus": CPUS,
        "checkers": ("races", "lockdep", "sleep", "kasan", "rcu", "lists"),
    }
    scenario = partial(_scenario, program)
    found = explore(scenario, **options)
    if not found.complete:
        raise Differs(f"{program}: not complete: {found.extent}")
    outcomes = _plain(found.outcomes)
    told = {(f.finding.kind, f.finding.where) for f in found.findings if isinstance(f.finding, Finding)}

    # What is read from a freed page is rubbish, and all of it is reported: a row of reads is one step
    # (`XPage`).
    freed = any("use-after-free" in kind for kind, _ in told)

    def same(other: naive.Result, what: str, exactly: bool) -> None:
        theirs = _plain(other.outcomes)
        for mine, its, thing in ((outcomes, theirs, "outcomes"), (told, other.findings, "findings")):
            if freed and thing == "outcomes":
                continue
            lost, more = its - mine, mine - its if exactly else set()
            if lost or more:
                raise Differs(
                    f"{program}: {thing}: only {what}: {lost or 'none'}; only explored: {more or 'none'}"
                )

    every = naive.every_order(scenario, limit)
    same(every, "in some order", every.ended)
    classes = every
    if not every.ended:
        same(naive.random_orders(scenario, runs, program.seed), "in a random order", False)
        classes = naive.explore(scenario, found.shared, limit)
        same(classes, "in a class", classes.ended)
        if classes.ended and (classes.executions, classes.deadlocks) != (found.executions, found.deadlocks):
            raise Differs(f"{program}: {classes.executions}+{classes.deadlocks} classes, {found!r}")
    if {"random", "tas"} <= program.primitives:
        simulations = 0  # such a lock draws lots itself while it is simulated
    for number in range(simulations):
        outcome = simulated(program, number)
        if outcome not in outcomes and not freed:
            raise Differs(f"{program}: only simulated (costs {number}): {outcome}; explored: {outcomes}")
    return Compared(every.ended, classes.ended)


def _scenario(program: Program, machine: Machine) -> Any:
    return program.on(machine)


# -- the nightly job ---------------------------------------------------------


def _one(seed: int, size: int, limit: int, runs: int) -> tuple[int, str, Compared | None]:
    try:
        return seed, "", compare(generate(seed, size), limit, runs)
    except Exception as error:
        return seed, f"{type(error).__name__}: {error}", None


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare many programs; the table of what took part, and every seed that differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", type=int, help="how many")
    parser.add_argument(
        "--seed", type=int, default=0, help="the first one: go on where an earlier run stopped"
    )
    parser.add_argument("--size", type=int, default=5, help="operations of each (default 5)")
    parser.add_argument(
        "--limit", type=int, default=300, help="orders, and classes, of each that are run by hand"
    )
    parser.add_argument("--runs", type=int, default=2000, help="random orders where that was not all")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args(arguments)
    seeds = range(options.seed, options.seed + options.programs)
    bad, done, pairs = 0, Counter[str](), Counter[tuple[str, str]]()
    print(f"programs of {options.size} operations, seeds {seeds[0]} to {seeds[-1]}")
    with ProcessPoolExecutor(options.jobs) as executor:
        work = partial(_one, size=options.size, limit=options.limit, runs=options.runs)
        for seed, text, compared in executor.map(work, seeds, chunksize=10):
            if compared is None:
                bad += 1
                print(f"seed {seed} differs: {text}", flush=True)
            else:
                done[
                    "every order" if compared.every else "every class" if compared.classes else "random"
                ] += 1
            pairs.update(met(generate(seed, options.size)))
            if not (seed + 1 - options.seed) % 500:
                print(
                    f"  up to seed {seed}: {bad} differ; {dict(done)}; go on with --seed {seed + 1}",
                    flush=True,
                )
    print(*table(pairs), sep="\n")
    gaps = [pair for pair in PAIRS if not pairs[pair]]
    print(
        f"{bad} programs differ; compared in {dict(done)}; "
        f"pairs of primitives never generated: {gaps or 'none'}"
    )
    return int(bad > 0 or bool(gaps))


def met(program: Program) -> Iterator[tuple[str, str]]:
    """The pairs of primitives that a program uses, and each primitive with itself."""
    used = sorted(program.primitives)
    yield from combinations(used, 2)
    yield from ((one, one) for one in used)


def table(pairs: Counter[tuple[str, str]]) -> Iterator[str]:
    """How often each primitive was generated, and each pair."""
    width = max(map(len, PRIMITIVES))
    yield f"{'':{width}} {'alone':>6} " + " ".join(f"{name[:6]:>6}" for name in PRIMITIVES)
    for one in PRIMITIVES:
        row = (pairs[tuple(sorted((one, other)))] if one != other else 0 for other in PRIMITIVES)  # type: ignore[index]
        yield f"{one:{width}} {pairs[one, one]:>6} " + " ".join(f"{count:>6}" for count in row)


__all__ = ["MAKERS", "Compared", "Differs", "Program", "compare", "generate", "main", "met", "table"]

if __name__ == "__main__":
    sys.exit(main())
