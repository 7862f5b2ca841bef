"""The order in which locks are taken, as a graph: which lock was taken while which was held, where, and
whether it is a circle.

An edge A -> B says: somebody took B while holding A. If edges lead round in a circle, threads can each hold
one lock and wait for the next, for ever. A circle counts if it can block: where a recursive reader arrives
and a reader stands, both pass (`vtdkit.kernel.checkers.lockdep.graph` has the rule). The source is what the
lock validator learnt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Arrival = tuple[str, bool]  #: a lock, and whether a recursive reader arrives there


@dataclass(frozen=True, slots=True)
class LockEdge:
    """`next` was taken while `prev` was held; first by these functions. `circle`: it is part of one."""

    prev: str
    next: str
    held_at: str
    taken_at: str
    circle: bool = False


@dataclass(frozen=True, slots=True)
class LockOrder:
    """Locks and edges in the order in which they were learnt. `circles`: one way round each, from a
    lock back to it.
    """

    locks: tuple[str, ...]
    edges: tuple[LockEdge, ...]
    circles: tuple[tuple[str, ...], ...]

    def __repr__(self) -> str:
        ways = "; ".join(" -> ".join(circle) for circle in self.circles)
        return (
            f"<lock order: {len(self.locks)} locks, {len(self.edges)} edges, "
            f"{f'circle {ways}' if ways else 'no circle'}>"
        )


def lock_order(source: Any, around: str = "") -> LockOrder:
    """The graph of a machine, its `lockdep`, or an iterable of lockdep's `Dependency` records.

    `around` keeps the edges from and to this lock, and all circles. Raises ValueError if the validator was
    off, or knows no such lock.
    """
    lockdep = source.check.lockdep if hasattr(source, "check") else source  # of a machine, or itself
    if lockdep is None:
        raise ValueError("this machine has no lock validator; make it with the checker 'lockdep'")
    learnt: Iterable[Any] = lockdep.edges() if hasattr(lockdep, "edges") else lockdep
    links = [link for link in learnt if link.prev != link.next]
    after: dict[Arrival, list[Arrival]] = {}  # where strong paths lead from each arrival
    for link in links:
        for kind in link.kinds:
            for start in _stands(link, kind):
                after.setdefault(start, []).append((link.next, kind[1] == "R"))
    rings = [_ring(after, link) for link in links]
    edges = [
        LockEdge(one.prev, one.next, _place(one.held_at), _place(one.taken_at), bool(ring))
        for one, ring in zip(links, rings, strict=True)
    ]
    if around:
        known = sorted({name for edge in edges for name in (edge.prev, edge.next)})
        if around not in known:
            raise ValueError(
                f"no lock {around!r} was taken together with another; those that were: "
                f"{', '.join(known) or 'none'}"
            )
        edges = [edge for edge in edges if edge.circle or around in (edge.prev, edge.next)]
    locks = dict.fromkeys(name for edge in edges for name in (edge.prev, edge.next))
    return LockOrder(tuple(locks), tuple(edges), _circles(filter(None, rings)))


def _place(site: Any) -> str:
    """The function. Its line would change with every edit above it, and pictures are kept in notebooks."""
    return str(getattr(site, "function", site))


# -- circles ------------------------------------------------------------------


def _stands(link: Any, kind: str) -> list[Arrival]:
    """Who may stand at the start of an edge: if it was held by a reader, no recursive reader."""
    return [(link.prev, weak) for weak in (False, True)[: 2 if kind[0] == "E" else 1]]


def _ring(after: Mapping[Arrival, Sequence[Arrival]], link: Any) -> tuple[str, ...]:
    """The shortest strong way round through an edge, from its start back to it; empty if there is none."""
    ways = [_way(after, (link.next, kind[1] == "R"), _stands(link, kind)) for kind in link.kinds]
    return min(((link.prev, *way) for way in ways if way), key=len, default=())


def _way(
    after: Mapping[Arrival, Sequence[Arrival]], start: Arrival, ends: Collection[Arrival]
) -> tuple[str, ...]:
    """The locks on the shortest path from `start` to one of `ends`."""
    ways: dict[Arrival, tuple[str, ...]] = {start: (start[0],)}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        if here in ends:
            return ways[here]
        fresh = [there for there in after.get(here, ()) if there not in ways]
        ways |= {there: (*ways[here], there[0]) for there in fresh}
        queue += dict.fromkeys(fresh)
    return ()


def _circles(rings: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Those that go through an edge which none before them used."""
    used: set[tuple[str, str]] = set()
    found = []
    for ring in rings:
        if (ring[0], ring[1]) not in used:
            used.update(pairwise(ring))
            found.append(ring)
    return tuple(found)
