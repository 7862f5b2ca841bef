"""Things in a row that must not overlap, each as near as can be to where it wants to be."""

from __future__ import annotations

from collections.abc import Sequence


def spread(wanted: Sequence[float], size: float) -> list[float]:
    """Positions in the given order, as near to those wanted as is possible (least squares) when each
    takes up `size`.
    """
    groups: list[tuple[float, int]] = []  # pooled while they would overlap: sum of what they want, how many
    for number, at in enumerate(wanted):
        total, count = at - number * size, 1
        while groups and groups[-1][0] / groups[-1][1] > total / count:
            before, more = groups.pop()
            total, count = total + before, count + more
        groups.append((total, count))
    starts = [total / count for total, count in groups for _ in range(count)]
    return [start + number * size for number, start in enumerate(starts)]
