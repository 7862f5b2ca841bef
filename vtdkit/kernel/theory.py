"""What queueing theory says about a lock: closed forms to hold a simulation against. Nothing here is simulated.

N CPUs, each for ever: think (mean Z, exponential), take the lock, hold it (mean S), release. This is the *machine repairman* (one
repairman, N machines), M/M/1//N in Kendall's notation; with a constant hold M/D/1//N. A lock whose hand-over costs something is
the same chain with a service rate that depends on the number waiting: per waiter for a ticket lock (Boyd-Wickizer, Kaashoek,
Morris, Zeldovich, "Non-scalable locks are dangerous", OLS 2012), one line transfer for a queue lock.

Units: whatever S and Z are in (ns here); throughput is pieces of work in that unit. Sources: L. Takács, "Introduction to the
Theory of Queues" (1962), for the constant hold; any textbook for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb, exp


@dataclass(frozen=True, slots=True)
class Steady:
    """A lock in its steady state: acquisitions per unit of time, mean wait, share of time it is held, how many hold or wait."""

    throughput: float
    wait: float
    utilisation: float
    present: float


def _steady(throughput: float, n: int, service: float, think: float) -> Steady:
    """The rest follows from the throughput by Little's law: N = X (W + S + Z)."""
    return Steady(throughput, n / throughput - think - service, throughput * service, n - throughput * think)


def exponential_hold(n: int, service: float, think: float) -> Steady:
    """M/M/1//N: exponential hold of mean `service`, think time `think`, `n` CPUs, free hand-over."""
    return handover_chain(n, service, think, lambda _: 0.0)


def constant_hold(n: int, service: float, think: float) -> Steady:
    """M/D/1//N: the hold is always `service` (Takács)."""
    product, total = 1.0, 1.0
    for k in range(1, n):
        left = exp(-k * service / think)
        product *= left / (1 - left)
        total += comb(n - 1, k) / product
    busy = 1 - 1 / (1 + n * service / think * total)
    return _steady(busy / service, n, service, think)


def ticket(n: int, service: float, think: float, line: float) -> Steady:
    """A ticket lock: all waiters re-read one line, the next owner's answer comes half way through them."""
    return handover_chain(n, service, think, lambda waiting: line * waiting / 2)


def queued(n: int, service: float, think: float, line: float) -> Steady:
    """A queue lock (MCS, qspinlock): one line transfer, however many wait."""
    return handover_chain(n, service, think, lambda waiting: line if waiting else 0.0)


def handover_chain(n: int, service: float, think: float, cost: Callable[[int], float]) -> Steady:
    """The chain with states 0..n, "so many hold or wait"; releasing with `waiting` others there takes `cost(waiting)` more.

    `wait` counts from the request to the grant, `utilisation` only the section itself, not the hand-over.
    """
    weights = [1.0]
    for k in range(n):
        weights.append(weights[-1] * (n - k) / think * (service + cost(k)))
    total = sum(weights)
    throughput = sum(weights[k] / total / (service + cost(k - 1)) for k in range(1, n + 1))
    return _steady(throughput, n, service, think)
