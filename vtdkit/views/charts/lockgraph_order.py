"""The order in which locks are taken, as a graph: which lock was taken while which was held, where, and
whether it is a circle.

An edge A -> B says: somebody took B while holding A. If edges lead round in a circle, threads can each hold
one lock and wait for the next, for ever. A circle counts if it can block: where a recursive reader arrives
and a reader stands, both pass (`vtdkit.kernel.checkers.lockdep.graph` has the rule). The source is what a
machine's lock validator learnt, or records of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vtdkit.kernel.checkers.lockdep.classes import LockClass
from vtdkit.kernel.checkers.lockdep.graph import KIND_NAMES, Match, add_edge, find
from vtdkit.kernel.checkers.lockdep.validator import Dependency, Lockdep
from vtdkit.kernel.machine.machine import Machine


@dataclass(frozen=True, slots=True)
class LockEdge:
    """`next` was taken while `prev` was held, first in the function `taken_at`. `circle`: it is part of
    one.
    """

    prev: str
    next: str
    taken_at: str
    circle: bool


@dataclass(frozen=True, slots=True)
class LockOrder:
    """Locks and edges in the order in which they were learnt. `circles`: one way round each, from a
    lock back to it.
    """

    locks: tuple[str, ...]
    edges: tuple[LockEdge, ...]
    circles: tuple[tuple[str, ...], ...]


def lock_order(source: Machine | Lockdep | Iterable[Dependency], around: str = "") -> LockOrder:
    """The graph of a machine's locks, from the machine, its `lockdep`, or records of lockdep's.

    `around` keeps the edges from and to this lock, and all circles. Raises ValueError if the validator was
    off, or knows no such lock.
    """
    lockdep = source.check.lockdep if isinstance(source, Machine) else source
    if lockdep is None:
        raise ValueError("this machine has no lock validator; make it with the checker 'lockdep'")
    learnt = lockdep.edges() if isinstance(lockdep, Lockdep) else lockdep
    links = [link for link in learnt if link.prev != link.next]
    classes = _classes(links)
    rings = [_ring(classes, link) for link in links]
    edges = [
        # Its function: a line would change with every edit above it, and pictures are kept in notebooks.
        LockEdge(one.prev, one.next, str(getattr(one.taken_at, "function", one.taken_at)), bool(ring))
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


def _classes(links: Sequence[Dependency]) -> dict[str, LockClass]:
    """The locks by name, with the graph that the records tell of."""
    graph = Lockdep(lambda report: None)
    classes = {name: graph.lock_class(name) for link in links for name in (link.prev, link.next)}
    for link in links:
        for kind in link.kinds:
            start, end = classes[link.prev], classes[link.next]
            add_edge(start, end, KIND_NAMES.index(kind), link.held_at, link.taken_at)
    return classes


def _ring(classes: Mapping[str, LockClass], link: Dependency) -> tuple[str, ...]:
    """The shortest strong way round through an edge, from its start back to it; empty if there is none."""
    start, end = classes[link.next], classes[link.prev]

    def closes(held: str) -> Match:
        """Whether a path ends: where the lock was held by a reader, no recursive reader may arrive."""
        return lambda here, weak: here is end and (held == "E" or not weak)

    ways = [find(start, kind[1] == "R", closes(kind[0])) for kind in link.kinds]
    rings = ((link.prev, *(step.prev for step in way.links), link.prev) for way in ways if way)
    return min(rings, key=len, default=())


def _circles(rings: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Those that go through an edge which none before them used."""
    used: set[tuple[str, str]] = set()
    found = []
    for ring in rings:
        if (ring[0], ring[1]) not in used:
            used.update(pairwise(ring))
            found.append(ring)
    return tuple(found)
