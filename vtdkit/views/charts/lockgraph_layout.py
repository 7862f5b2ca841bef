"""Where the boxes and arrows of a lock-order graph go: outer locks on the left, what was taken
under them further right.

Each lock stands one column or more to the right of the locks it was taken under (edges that close a circle do
not count). Between two columns of boxes is one of labels: each edge has a place of its own in every column it
crosses, so labels and lines keep clear of boxes and of each other. Units are points; y goes down. A pure
function of the graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from .lockgraph_order import LockEdge, LockOrder
from .spread import spread

LETTER, NARROW = 0.62, 0.57  #: width of a letter of a name and of a label, in heights of the type
SIZE, SMALL = 9.0, 7.5  #: type of names and of labels
HIGH, GAP, SPACE = 25.0, 11.0, 20.0  #: a box; between two of a column; between columns
SWEEPS = 24


@dataclass(frozen=True, slots=True)
class Spot:
    """A box, a label or a bend, by its centre. `lock` is "" for a label or bend, `text` "" for a bend."""

    lock: str
    text: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Arrow:
    """An edge as the points it goes through, from the box of `edge.prev` to that of `edge.next`;
    its label is `spots[label]`.
    """

    edge: LockEdge
    points: tuple[tuple[float, float], ...]
    label: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """All of it, and how large it is."""

    spots: tuple[Spot, ...]
    arrows: tuple[Arrow, ...]
    width: float
    height: float


def drawing(order: LockOrder, width: float = math.inf) -> Drawing:
    """The layout of a graph; of one without locks, nothing. If it gets wider than `width`,
    labels take two lines.
    """
    if not order.locks:
        return Drawing((), (), 0.0, 0.0)
    wide = _Layout(order, fold=False).result()
    return wide if wide.width <= width else _Layout(order, fold=True).result()


def folded(text: str) -> str:
    """A label in two lines, broken after the underscore nearest to its middle."""
    breaks = [i + 1 for i, letter in enumerate(text) if letter in "_:"]
    if len(text) < 12 or not breaks:
        return text
    at = min(breaks, key=lambda i: abs(i - len(text) / 2))
    return f"{text[:at]}\n{text[at:]}"


class _Layout:
    """Columns of spots, by number; even columns have boxes and odd ones labels."""

    def __init__(self, order: LockOrder, fold: bool) -> None:
        self.order = order
        self.fold = fold
        self.rank = ranks(order)
        self.spots: list[Spot] = []
        self.columns: list[list[int]] = [[] for _ in range(2 * max(self.rank.values()) + 1)]
        self.near: list[list[int]] = []
        self.box = {lock: self._add(2 * self.rank[lock], lock, lock, HIGH) for lock in order.locks}
        self.chains = [self._chain(edge) for edge in order.edges]
        for chain, _ in self.chains:
            for one, other in pairwise(chain):
                self.near[one].append(other)
                self.near[other].append(one)

    def _add(self, column: int, lock: str, text: str, height: float) -> int:
        letters = max(map(len, text.split("\n")))
        width = letters * (SIZE * LETTER if lock else SMALL * NARROW) + (14 if lock else 8 if text else 0)
        self.columns[column].append(len(self.spots))
        self.spots.append(Spot(lock, text, 0.0, 0.0, width, height))
        self.near.append([])
        return len(self.spots) - 1

    def _chain(self, edge: LockEdge) -> tuple[list[int], int]:
        """Spots for an edge in each column between its ends, from left to right; and which of
        them is the label.
        """
        ends = sorted((2 * self.rank[edge.prev], 2 * self.rank[edge.next]))
        left, right = (
            (edge.prev, edge.next) if 2 * self.rank[edge.prev] == ends[0] else (edge.next, edge.prev)
        )
        chain, label = [self.box[left]], -1
        for column in range(ends[0] + 1, ends[1]):
            last = column == ends[1] - 1
            text = "" if not last else folded(edge.taken_at) if self.fold else edge.taken_at
            spot = self._add(column, "", text, 9.0 + 9.0 * text.count("\n") + 6.0 if text else 6.0)
            label = spot if last else label
            chain.append(spot)
        return [*chain, self.box[right]], label

    def result(self) -> Drawing:
        self._order_columns()
        self._place_columns()
        left = 0.0
        for column in self.columns:
            wide = max((self.spots[i].width for i in column), default=0.0)
            for i in column:
                self.spots[i] = replace(self.spots[i], x=left + wide / 2)
            left += wide + SPACE
        top = min(spot.y - spot.height / 2 for spot in self.spots)
        self.spots = [replace(spot, y=spot.y - top) for spot in self.spots]
        height = max(spot.y + spot.height / 2 for spot in self.spots)
        return Drawing(
            tuple(self.spots),
            tuple(self._arrow(*chain) for chain in zip(self.order.edges, self.chains, strict=True)),
            left - SPACE,
            height,
        )

    def _order_columns(self) -> None:
        """Fewer crossings: each spot near the middle of its neighbours, there and back a few times."""
        place = {spot: float(i) for column in self.columns for i, spot in enumerate(column)}
        for sweep in range(SWEEPS):
            for column in self.columns if sweep % 2 == 0 else self.columns[::-1]:
                middle = {
                    spot: _mean([place[other] for other in self.near[spot]], place[spot]) for spot in column
                }
                column.sort(key=lambda spot: (middle[spot], place[spot]))
                for i, spot in enumerate(column):
                    place[spot] = i - len(column) / 2

    def _place_columns(self) -> None:
        """Each spot level with its neighbours, as far as those above and below leave room."""
        y = [0.0] * len(self.spots)
        for sweep in range(SWEEPS):
            for column in self.columns if sweep % 2 == 0 else self.columns[::-1]:
                wanted = [_mean([y[other] for other in self.near[spot]], y[spot]) for spot in column]
                for spot, at in zip(
                    column, spread(wanted, [self.spots[spot].height + GAP for spot in column]), strict=True
                ):
                    y[spot] = at
        self.spots = [replace(spot, y=at) for spot, at in zip(self.spots, y, strict=True)]

    def _arrow(self, edge: LockEdge, chain: tuple[list[int], int]) -> Arrow:
        """From side to side of the boxes; flat through the whole width of what lies between."""
        spots, label = chain
        points = []
        for i, number in enumerate(spots):
            spot = self.spots[number]
            if i > 0:
                points.append((spot.x - spot.width / 2, spot.y + self._port(number, spots[i - 1])))
            if i < len(spots) - 1:
                points.append((spot.x + spot.width / 2, spot.y + self._port(number, spots[i + 1])))
        forward = spots[0] == self.box[edge.prev]
        return Arrow(edge, tuple(points if forward else points[::-1]), label)

    def _port(self, spot: int, neighbour: int) -> float:
        """How far from the middle of its side an edge meets a box: each has a place of its own, in the order
        of where they go.
        """
        if not self.spots[spot].lock:
            return 0.0
        right = self.spots[neighbour].x > self.spots[spot].x
        same = [other for other in self.near[spot] if (self.spots[other].x > self.spots[spot].x) is right]
        same.sort(key=lambda other: (self.spots[other].y, other))
        apart = min(7.0, (HIGH - 7) / max(len(same) - 1, 1))
        return (same.index(neighbour) - (len(same) - 1) / 2) * apart


def ranks(order: LockOrder) -> dict[str, int]:
    """The column of each lock: one more than that of the rightmost lock it was taken under, edges that close
    a circle left out.
    """
    before: dict[str, list[str]] = {lock: [] for lock in order.locks}
    for edge in order.edges:
        if not _leads(before, edge.prev, edge.next):
            before[edge.next].append(edge.prev)
    rank: dict[str, int] = {}

    def of(lock: str) -> int:
        if lock not in rank:
            rank[lock] = max((of(other) + 1 for other in before[lock]), default=0)
        return rank[lock]

    for lock in order.locks:
        of(lock)
    return rank


def _leads(before: dict[str, list[str]], lock: str, to: str) -> bool:
    """Is `to` among what comes before `lock`, however far?"""
    seen, left = {lock}, [lock]
    while left:
        here = left.pop()
        if here == to:
            return True
        fresh = [other for other in before[here] if other not in seen]
        seen.update(fresh)
        left += fresh
    return False


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
