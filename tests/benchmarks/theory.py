"""What queueing theory says about a lock: closed forms to hold a simulation against.
Nothing here is simulated.

N CPUs, each for ever: think (mean Z, exponential), take the lock, hold it (mean S), release. This is the
*machine repairman* (one repairman, N machines), M/M/1//N in Kendall's notation; with a constant hold
M/D/1//N. A lock whose hand-over costs something is the same chain with a service rate that depends on the
number waiting: per waiter for a ticket lock (Boyd-Wickizer, Kaashoek, Morris, Zeldovich, "Non-scalable locks
are dangerous", OLS 2012), one line transfer for a queue lock.

Units: whatever S and Z are in (ns here); throughput is pieces of work in that unit. Sources: L. Takács,
"Introduction to the Theory of Queues" (1962), for the constant hold; any textbook for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb, exp


@dataclass(frozen=True, slots=True)
class Steady:
    """A lock in its steady state: acquisitions per unit of time, mean wait, share of time it is held, how
    many hold or wait.
    """

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
    """The chain with states 0..n, "so many hold or wait"; releasing with `waiting` others
    there takes `cost(waiting)` more.

    `wait` counts from the request to the grant, `utilisation` only the section itself, not the hand-over.
    """
    weights = [1.0]
    for k in range(n):
        weights.append(weights[-1] * (n - k) / think * (service + cost(k)))
    total = sum(weights)
    throughput = sum(weights[k] / total / (service + cost(k - 1)) for k in range(1, n + 1))
    return _steady(throughput, n, service, think)


def charged_at_release(n: int, service: float, think: float, cost: Callable[[int], float]) -> Steady:
    """The same lock with a hand-over of constant length, `cost(waiting)` from the number
    waiting at the release.

    The chains above draw section and hand-over together from one exponential; hardware, and the simulator,
    draw the section only. Exact, from the chain of the number left waiting by each departure: arrivals during
    an exponential section are a race between each next arrival and its end, those during the hand-over are
    binomial. Whoever lets go thinks only afterwards.
    """
    rows = [_next_departure(n, waiting, service, think, cost) for waiting in range(n)]
    share = [1.0] + [0.0] * (n - 1)
    for _ in range(100_000):
        moved = [0.0] * n
        for left, (after, _) in zip(share, rows, strict=True):
            for number, p in after:
                moved[number] += left * p
        far = max(abs(a - b) for a, b in zip(share, moved, strict=True))
        share = moved
        if far < 1e-12:
            break
    cycle = sum(left * takes for left, (_, takes) in zip(share, rows, strict=True))
    return _steady(1 / cycle, n, service, think)


def _next_departure(
    n: int,
    waiting: int,
    service: float,
    think: float,
    cost: Callable[[int], float],
) -> tuple[list[tuple[int, float]], float]:
    """From a departure that leaves `waiting`: (how many the next leaves, with what probability) and the
    mean time to it.
    """
    inside = max(waiting, 1)  # after a departure that leaves nobody, the first to arrive
    takes = service + (0.0 if waiting else think / n)
    after = [0.0] * n
    reached = 1.0  # the probability that so many arrived during the section
    for arrived in range(n - inside + 1):
        thinking = n - inside - arrived
        ends = reached / (1 + thinking * service / think)
        reached -= ends
        behind = inside - 1 + arrived
        handover = cost(behind) if behind else 0.0
        takes += ends * handover
        late = 1 - exp(-handover / think)
        for more in range(thinking + 1):
            after[behind + more] += ends * comb(thinking, more) * late**more * (1 - late) ** (thinking - more)
    return [(number, p) for number, p in enumerate(after) if p], takes
