"""The order graph and the search for strong paths in it.

An edge `A -> B` says: B was taken while A was held. Sharing gives it one of four kinds, named by two letters,
and an edge may be of several:

    S.  A was held by a reader
    E.  A was held alone
    .R  B was taken by a recursive reader, who overtakes waiting writers
    .N  B was taken in any other way

A path can only block if no recursive reader arrives where a reader stands: `-(.R)-> B -(S.)->` is a gap, two
readers of B pass each other. A path without such a gap is *strong*. The search keeps, for each class, whether
all the edges that led there arrive as recursive readers ("weak"), and looks at weak and strong arrivals
apart, so a path is not lost because a weak one got there first. (The kernel's `__bfs()` visits each class
once, whichever way came first.) If a strong walk crosses itself, the part between holds a strong cycle that
was reported when it closed. Source of the rules: Documentation/locking/lockdep-design.rst.
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from .classes import LockClass
from .keys import EXCLUSIVE, RECURSIVE
from .report import Link

KIND_NAMES = ("SR", "ER", "SN", "EN")
_FROM_READER = 0b0101  # SR, SN
_TO_RECURSIVE = 0b0011  # SR, ER


def edge_kind(prev_read: int, next_read: int) -> int:
    """0..3, an index into KIND_NAMES, for a lock taken as `next_read` while one is held as `prev_read`."""
    return (prev_read == EXCLUSIVE) + 2 * (next_read != RECURSIVE)


@dataclass(slots=True, eq=False, repr=False)
class Edge:
    """All the times that `next` was taken under `prev`.

    `places[kind]`: the first two places of that kind, where `prev` had been taken and where `next` was.
    """

    prev: LockClass
    next: LockClass
    kinds: int = 0
    places: dict[int, tuple[Hashable, Hashable]] = field(default_factory=dict)

    def link(self, kinds: int) -> Link:
        """This edge as a record, in the strongest of the given kinds."""
        kind = kinds.bit_length() - 1
        held_at, taken_at = self.places[kind]
        return Link(self.prev.name, self.next.name, KIND_NAMES[kind], held_at, taken_at)


def add_edge(prev: LockClass, next: LockClass, kind: int, held_at: Hashable, taken_at: Hashable) -> Edge:
    """Note that `next` was taken under `prev`; the first places of a kind stay."""
    if next.id not in prev.after:
        prev.after[next.id] = next.before[prev.id] = Edge(prev, next)
    edge = prev.after[next.id]
    edge.kinds |= 1 << kind
    edge.places.setdefault(kind, (held_at, taken_at))
    return edge


Match = Callable[[LockClass, bool], bool]
_Node = tuple[int, bool]
_Trail = dict[_Node, tuple[_Node, Edge, int] | None]


class Path(NamedTuple):
    """What a search found: where it ended, and the links, in the order in which locks are taken."""

    end: LockClass
    links: tuple[Link, ...]


def find(
    start: LockClass, weak: bool, match: Match, *, backward: bool = False, locks_only: bool = False
) -> Path | None:
    """The shortest strong path from `start` to a class that matches, or None. `start` itself may match.

    `weak`: whether `start` was entered by a recursive reader (backward: is left by any reader), which bars
    the edges that would leave a gap there. `match` is asked with the class and whether the path is weak at
    it. `backward` follows edges against their direction. `locks_only`: go round what is no lock between CPUs
    (local_lock).
    """
    gap, weakening = (_TO_RECURSIVE, _FROM_READER) if backward else (_FROM_READER, _TO_RECURSIVE)
    trail: _Trail = {(start.id, weak): None}
    queue = deque([(start, weak)])
    while queue:
        here, weak = queue.popleft()
        if locks_only and here.kind.percpu:
            continue
        if match(here, weak):
            return Path(here, _links(trail, (here.id, weak), backward))
        for edge in (here.before if backward else here.after).values():
            kinds = edge.kinds & ~gap if weak else edge.kinds
            there = edge.prev if backward else edge.next
            arrives_weak = not kinds & ~weakening
            node = (there.id, arrives_weak)
            if kinds and node not in trail and (there.id, False) not in trail:
                trail[node] = ((here.id, weak), edge, kinds)
                queue.append((there, arrives_weak))
    return None


def _links(trail: _Trail, node: _Node, backward: bool) -> tuple[Link, ...]:
    links = []
    step = trail[node]
    while step is not None:
        node, edge, kinds = step
        links.append(edge.link(kinds))
        step = trail[node]
    return tuple(links if backward else links[::-1])
