"""Loads: many threads that do the same thing over and over, with pauses in between, and what came of it.

A *closed* load has a fixed number of threads; each thinks, does its work, thinks again. An *open* load has
arrivals that do not wait for anybody: each one is a thread of its own. Both stop by count or by time. Pauses
are drawn from a distribution, from a stream of random numbers for each thread that depends on the machine's
seed and nothing else.

Example::

    >>> from vtdkit.kernel import IDEAL, Machine
    >>> machine = Machine(cpus=2, costs=IDEAL)
    >>> lock = machine.spinlock("lock")
    >>> async def critical(index: int) -> None:
    ...     async with lock:
    ...         await machine.work(100)
    >>> load = closed_loop(machine, critical, threads=2, think=Constant(300), count=10)
    >>> _ = machine.simulate()
    >>> load.result()
    20 done in 4100 ns: 4.878 million/s, response 105.0 ns on average, 200 ns at most

Little's law holds to the nanosecond: for a closed load `thread_time == think_total + response_total`.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .machine import Machine

Body = Callable[[int], Coroutine[Any, Any, Any]]
Sampler = Callable[[], int]


class Times(Protocol):
    """A distribution of times in ns: its mean, and a function that draws from it."""

    @property
    def mean(self) -> float: ...

    def sampler(self, stream: random.Random) -> Sampler:
        """A function that draws one time after another from `stream`."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same."""

    ns: int = 0

    @property
    def mean(self) -> float:
        return self.ns

    def sampler(self, stream: random.Random) -> Sampler:
        ns = self.ns
        return lambda: ns


@dataclass(frozen=True, slots=True)
class Exponential:
    """Without memory, as arrivals from many independent sources are; rounded to whole nanoseconds."""

    mean: float

    def sampler(self, stream: random.Random) -> Sampler:
        draw, rate = stream.expovariate, 1 / self.mean
        return lambda: round(draw(rate))


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every time from `low` to `high` (both included) alike."""

    low: int
    high: int

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2

    def sampler(self, stream: random.Random) -> Sampler:
        low, width, draw = self.low, self.high - self.low + 1, stream.random
        return lambda: low + int(draw() * width)


@dataclass(frozen=True, slots=True)
class Measured:
    """One of the times that were measured somewhere, each as likely."""

    times: tuple[int, ...]

    @property
    def mean(self) -> float:
        return sum(self.times) / len(self.times)

    def sampler(self, stream: random.Random) -> Sampler:
        draw, times, count = stream.random, self.times, len(self.times)
        return lambda: times[int(draw() * count)]


@dataclass(frozen=True, slots=True, repr=False)
class LoadResult:
    """What a load did, times in ns.

    `done` pieces of work within `elapsed`; `responses` how long each took, in order of completion;
    `think_total` the pauses; `thread_time` how long the threads existed, all together; `by_thread` pieces
    done by each (closed loads).
    """

    done: int
    elapsed: int
    responses: Sequence[int]
    think_total: int = 0
    thread_time: int = 0
    by_thread: tuple[int, ...] = ()

    @property
    def response_total(self) -> int:
        """All responses together."""
        return sum(self.responses)

    @property
    def response_mean(self) -> float:
        """The average response; 0 if nothing was done."""
        return self.response_total / self.done if self.done else 0.0

    @property
    def throughput(self) -> float:
        """Pieces of work a second."""
        return self.done * 1e9 / self.elapsed if self.elapsed else 0.0

    def percentile(self, p: float) -> int:
        """The response that `p` percent of all do not exceed. Raises ValueError if nothing was done, or
        `p` is not 0..100.
        """
        if not self.responses or not 0 <= p <= 100:
            raise ValueError(f"no percentile {p} of {self.done} responses; p goes from 0 to 100")
        return sorted(self.responses)[max(0, -int(-p * self.done // 100) - 1)]

    def __repr__(self) -> str:
        return (
            f"{self.done} done in {self.elapsed} ns: {self.throughput / 1e6:.3f} million/s, response "
            f"{self.response_mean:.1f} ns "
            f"on average, {max(self.responses, default=0)} ns at most"
        )


class Load:
    """A load that was put on a machine; ask for its `result` after the machine has run. Guards:
    its own threads only.
    """

    def __init__(self, machine: Machine, threads: int) -> None:
        self.machine = machine
        self.began = machine.now
        self.ended = machine.now
        self.responses = array("q")
        self.think_total = 0
        self.thread_time = 0
        self.by_thread = [0] * threads

    def result(self) -> LoadResult:
        """What it has done so far."""
        return LoadResult(
            len(self.responses),
            self.ended - self.began,
            self.responses,
            self.think_total,
            self.thread_time,
            tuple(self.by_thread),
        )


def closed_loop(
    machine: Machine,
    body: Body,
    *,
    threads: int,
    think: Times | int = 0,
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
    _one_of(count, until)
    if threads < 1:
        raise ValueError(f"a closed load has 1 thread or more, not {threads}")
    load = Load(machine, threads)
    places = cpus or range(len(machine.cpus))
    for index in range(threads):
        draw = _times(think).sampler(_stream(machine, index))
        machine.spawn(
            _closed(load, body, index, draw, count, until), places[index % len(places)], f"{name}{index}"
        )
    return load


async def _closed(
    load: Load, body: Body, index: int, draw: Sampler, count: int | None, until: int | None
) -> None:
    machine, left = load.machine, -1 if count is None else count
    started = machine.now
    while left and (until is None or machine.now < until):
        paused = machine.now
        await machine.work(draw())
        began = machine.now
        load.think_total += began - paused
        await body(index)
        load.responses.append(machine.now - began)
        load.by_thread[index] += 1
        left -= 1
    load.thread_time += machine.now - started
    load.ended = machine.now


def open_loop(
    machine: Machine,
    body: Body,
    *,
    between: Times | int,
    count: int | None = None,
    until: int | None = None,
    cpus: Sequence[int] | None = None,
    name: str = "request",
) -> Load:
    """Have threads arrive, `between` apart, each awaiting `body(number)` once: `count` of them, or
    those before `until` (ns).

    They run on `cpus` in turn, or where there is room if none are named. A response counts from the arrival.
    Raises ValueError unless exactly one of `count` and `until` is given.
    """
    _one_of(count, until)
    load = Load(machine, 0)
    draw = _times(between).sampler(_stream(machine, -1))
    machine.spawn_device(_arrivals(load, body, draw, count, until, cpus, name), f"{name} arrivals")
    return load


async def _arrivals(
    load: Load,
    body: Body,
    draw: Sampler,
    count: int | None,
    until: int | None,
    cpus: Sequence[int] | None,
    name: str,
) -> None:
    machine, number = load.machine, 0
    while number != count:
        await machine.work(draw())
        if until is not None and machine.now >= until:
            return
        machine.spawn(_once(load, body, number), cpus[number % len(cpus)] if cpus else None, name, once=True)
        number += 1


def _once(load: Load, body: Body, number: int) -> Coroutine[Any, Any, None]:
    began = load.machine.now

    async def request() -> None:
        await body(number)
        load.ended = load.machine.now
        load.responses.append(load.ended - began)
        load.thread_time += load.ended - began

    return request()


def _one_of(count: int | None, until: int | None) -> None:
    if (count is None) == (until is None):
        raise ValueError("a load stops by count or by time: give count= or until=, and not both")


def _times(times: Times | int) -> Times:
    return Constant(times) if isinstance(times, int) else times


def _stream(machine: Machine, index: int) -> random.Random:
    return random.Random(machine.seed << 20 | index + 1)
