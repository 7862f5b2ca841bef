"""A load: many threads that do the same thing over and over, with pauses in between, and what came of it.

A *closed* load has a fixed number of threads; each thinks, does its work, thinks again. It stops by count or
by time. A pause is a number of nanoseconds, or drawn: each thread has a stream of random numbers that depends
on the machine's seed and its own number, and on nothing else.

Example::

    >>> from vtdkit.kernel import IDEAL, Machine
    >>> machine = Machine(cpus=2, costs=IDEAL)
    >>> lock = machine.spinlock("lock")
    >>> async def critical(index: int) -> None:
    ...     async with lock:
    ...         await machine.work(100)
    >>> load = closed_loop(machine, critical, threads=2, think=300, count=10)
    >>> _ = machine.simulate()
    >>> load
    20 done in 4100 ns: 4.878 million/s, response 105.0 ns on average, 200 ns at most

Little's law holds to the nanosecond: `thread_time` is `think_total` plus the sum of all responses.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from .machine import Machine

Body = Callable[[int], Coroutine[Any, Any, Any]]
Draw = Callable[[random.Random], int]  #: a time in ns, drawn from a stream of random numbers


class Load:
    """A load on a machine, and what it has done so far; times in ns. Guards: changed by its own threads only.

    `responses` how long each piece of work took, in order of completion; `think_total` the pauses;
    `thread_time` how long the threads existed, all together.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.began = self.ended = machine.now
        self.responses = array("q")
        self.think_total = self.thread_time = 0

    @property
    def elapsed(self) -> int:
        """From when it was put on the machine to when its last thread ended."""
        return self.ended - self.began

    @property
    def response_mean(self) -> float:
        """The average response; 0 if nothing was done."""
        return sum(self.responses) / len(self.responses) if self.responses else 0.0

    @property
    def throughput(self) -> float:
        """Pieces of work a second."""
        return len(self.responses) * 1e9 / self.elapsed if self.elapsed else 0.0

    def __repr__(self) -> str:
        return (
            f"{len(self.responses)} done in {self.elapsed} ns: {self.throughput / 1e6:.3f} million/s, "
            f"response {self.response_mean:.1f} ns on average, {max(self.responses, default=0)} ns at most"
        )


def closed_loop(
    machine: Machine,
    body: Body,
    *,
    threads: int,
    think: Draw | int = 0,
    count: int | None = None,
    until: int | None = None,
    cpus: Sequence[int] | None = None,
    name: str = "thread",
) -> Load:
    """Spawn `threads` threads that think and await `body(index)`, `count` times each, or as long as it
    is before `until` (ns).

    Thread i runs on `cpus[i]` (default: CPU i, starting over when there are more threads than CPUs). Raises
    ValueError unless exactly one of `count` and `until` is given.
    """
    if (count is None) == (until is None):
        raise ValueError("a load stops by count or by time: give count= or until=, and not both")
    if threads < 1 or (count or 0) < 0:
        raise ValueError(
            f"a closed load has 1 thread or more, not {threads}, and a count of 0 or more, not {count}"
        )
    load = Load(machine)
    places = cpus or range(len(machine.cpus))
    for index in range(threads):
        machine.spawn(
            _closed(load, body, index, think, count, until), places[index % len(places)], f"{name}{index}"
        )
    return load


async def _closed(
    load: Load, body: Body, index: int, think: Draw | int, count: int | None, until: int | None
) -> None:
    machine, left = load.machine, -1 if count is None else count
    stream = random.Random(machine.seed << 20 | index + 1)
    started = machine.now
    while left and (until is None or machine.now < until):
        paused = machine.now
        await machine.work(think if isinstance(think, int) else think(stream))
        began = machine.now
        load.think_total += began - paused
        await body(index)
        load.responses.append(machine.now - began)
        left -= 1
    load.thread_time += machine.now - started
    load.ended = machine.now
