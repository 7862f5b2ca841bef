"""Things in a row that must not overlap, each as near as can be to where it wants to be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def spread(wanted: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Positions in the given order, as near to those wanted as is possible (least squares) when each
    takes up its size.
    """
    offsets = [0.0]
    for one, other in pairwise(sizes):
        offsets.append(offsets[-1] + (one + other) / 2)
    groups: list[tuple[float, int]] = []  # pooled while they would overlap: sum of what they want, how many
    for at, offset in zip(wanted, offsets, strict=True):
        total, count = at - offset, 1
        while groups and groups[-1][0] / groups[-1][1] > total / count:
            total, count = total + groups[-1][0], count + groups[-1][1]
            groups.pop()
        groups.append((total, count))
    starts = [total / count for total, count in groups for _ in range(count)]
    return [start + offset for start, offset in zip(starts, offsets, strict=True)]
