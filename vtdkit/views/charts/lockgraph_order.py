"""The order in which locks are taken, as a graph: which lock was taken while which was held, where, and
whether it is a circle.

An edge A -> B says: somebody took B while holding A. If edges lead round in a circle, threads can each hold
one lock and wait for the next, for ever. A circle counts if it can block: where a recursive reader arrives
and a reader stands, both pass (`vtdkit.kernel.checkers.lockdep.graph` has the rule).

The source is best what the lock validator learnt (`machine`, `machine.lockdep`). A `Trace` will do, but it
does not say which takings were trylocks, which wait for nobody; nor is an order within one lock class shown,
since its locks have one name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vtdkit.kernel.record.record import ACQUIRE, RELEASE
from vtdkit.kernel.record.trace import Trace

Arrival = tuple[str, bool]  #: a lock, and whether a recursive reader arrives there


@dataclass(frozen=True, slots=True)
class LockEdge:
    """`next` was taken while `prev` was held; first at these places. `circle`: it is part of one."""

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
    """The graph of a machine, its `lockdep`, a `Trace`, or an iterable of lockdep's
    `Dependency` or `Link` records.

    `around` keeps the edges from and to this lock, and all circles. Raises ValueError if the validator was
    off, or knows no such lock.
    """
    links = list(_links(source))
    rings = _rings(links)
    inside = [any((one, kind) in rings for kind in _kinds(one)) for one in links]
    edges = [
        LockEdge(one.prev, one.next, _place(one.held_at), _place(one.taken_at), circle)
        for one, circle in zip(links, inside, strict=True)
        if one.prev != one.next
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
    return LockOrder(tuple(locks), tuple(edges), tuple(_circles([edge for edge in edges if edge.circle])))


@dataclass(frozen=True, slots=True)
class _Link:
    prev: str
    next: str
    kinds: tuple[str, ...]
    held_at: Any
    taken_at: Any


def _links(source: Any) -> Iterable[Any]:
    if isinstance(source, Trace):
        return _of_trace(source)
    if hasattr(source, "lockdep"):
        if source.lockdep is None:
            raise ValueError(
                "this machine has no lock validator; make it with the checker 'lockdep', or give "
                "machine.trace()"
            )
        source = source.lockdep
    learnt: Iterable[Any] = source.edges() if hasattr(source, "edges") else source
    return learnt


def _of_trace(trace: Trace) -> list[_Link]:
    """Whoever acquires something holds what it acquired before and has not released."""
    held: dict[int, list[tuple[int, int]]] = {}
    found: dict[tuple[str, str], _Link] = {}
    for _, _, context, kind, obj, site, _ in trace.rows():
        mine = held.setdefault(context, [])
        if kind == ACQUIRE:
            for other, where in mine[-1:]:
                names = trace.objects[other], trace.objects[obj]
                found.setdefault(names, _Link(*names, ("EN",), trace.sites[where], trace.sites[site]))
            mine.append((obj, site))
        elif kind == RELEASE:
            at = next((i for i in range(len(mine) - 1, -1, -1) if mine[i][0] == obj), None)
            if at is not None:
                mine.pop(at)
    return list(found.values())


def _place(site: Any) -> str:
    """The function, and the line where it has one."""
    function, line = getattr(site, "function", str(site)), getattr(site, "line", 0)
    return f"{function}:{line}" if line else str(function)


def _kinds(link: Any) -> tuple[str, ...]:
    return link.kinds if hasattr(link, "kinds") else (link.kind,)


# -- circles ------------------------------------------------------------------


def _rings(links: list[Any]) -> set[tuple[Any, str]]:
    """The edges, with their kinds, from whose end a strong path leads back to their start."""
    after: dict[Arrival, list[Arrival]] = {}
    for link in links:
        for kind in _kinds(link):
            for weak in (False, True)[: 2 if kind[0] == "E" else 1]:
                after.setdefault((link.prev, weak), []).append((link.next, kind[1] == "R"))
    reach: dict[Arrival, set[Arrival]] = {}
    found = set()
    for link in links:
        for kind in _kinds(link):
            end = (link.next, kind[1] == "R")
            if end not in reach:
                reach[end] = _reached(after, end)
            starts = {(link.prev, False)} | ({(link.prev, True)} if kind[0] == "E" else set())
            if starts & reach[end] and link.prev != link.next:
                found.add((link, kind))
    return found


def _reached(after: dict[Arrival, list[Arrival]], start: Arrival) -> set[Arrival]:
    seen, left = {start}, [start]
    while left:
        for there in after.get(left.pop(), ()):
            if there not in seen:
                seen.add(there)
                left.append(there)
    return seen


def _circles(edges: list[LockEdge]) -> Iterator[tuple[str, ...]]:
    """A shortest way round through each edge that no way before it used."""
    used: set[tuple[str, str]] = set()
    for edge in edges:
        if (edge.prev, edge.next) in used:
            continue
        way = _way(edges, edge.next, edge.prev)
        if way:
            circle = (edge.prev, *way)
            used.update(pairwise(circle))
            yield circle


def _way(edges: list[LockEdge], start: str, end: str) -> tuple[str, ...]:
    came: dict[str, str] = {start: ""}
    queue = deque([start])
    while queue and end not in came:
        here = queue.popleft()
        for edge in edges:
            if edge.prev == here and edge.next not in came:
                came[edge.next] = here
                queue.append(edge.next)
    way, here = [], end if end in came else ""
    while here:
        way.append(here)
        here = came[here]
    return tuple(way[::-1])
