"""The order in which locks are taken, as a picture: `lock_order_figure(machine)`, or of records.

    &iommu->lock      device_domain_lock
         |   domain_update_…  |
         |------------------->|

Each lock is an upright line under its name, those taken first further left. Each arrow, in a row of its own,
leads from a lock that was held to one that was taken meanwhile, and names the function where that happened.
Arrows that go round in a circle are thick, dashed and red, and the circle is spelled out below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from vtdkit.kernel.checkers.lockdep.validator import Dependency, Lockdep
from vtdkit.kernel.machine.machine import Machine
from vtdkit.views.shared.html import Html, tag
from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.sheet import Picture, Sheet, coordinate, wide, written

from .lockgraph_order import LockEdge, LockOrder, lock_order

ROW, LINE, TYPE = 30, 15, 12  # pixels: a row, a line of a name, type
WIDEST = 250  # from one lock to the next
RED = HUES["red"].light


def lock_order_figure(
    source: Machine | Lockdep | Iterable[Dependency], *, around: str = "", title: str = ""
) -> Picture:
    """The order of a machine's locks, from the machine, its `lockdep`, or records of lockdep's.

    `around` shows only the arrows of that lock (and circles). Raises ValueError for a machine without the
    validator, or a lock that it does not know.
    """
    order = lock_order(source, around)
    sheet = Sheet(f"{title or 'The order in which locks are taken'}: {spoken(order)}", title)
    if not order.edges:
        sheet.text("No lock was taken while another was held.")
        return sheet.picture()
    _ladder(sheet, order)
    words = "An arrow leads from a lock that was held to one that was taken meanwhile; on it stands where."
    sheet.text(words + ("" if order.circles else " There is no circle."), size=TYPE, ink="soft")
    for circle in order.circles:
        sheet.text(
            "Each thread can hold one and wait for the next: deadlock.",
            lead=f"◆ Circle: {' → '.join(circle)}.",
        )
    return sheet.picture()


def spoken(order: LockOrder) -> str:
    """The picture in words."""
    under = "; ".join(f"{edge.next} under {edge.prev} in {edge.taken_at}" for edge in order.edges)
    circles = "; ".join(f"circle {' to '.join(circle)}" for circle in order.circles)
    return f"{under or 'no lock was taken while another was held'}. {circles or 'No circle'}."


def outer_first(order: LockOrder) -> list[str]:
    """The locks, each after those it was taken under; arrows of circles do not count."""
    rank = dict.fromkeys(order.locks, 0)
    for edge in [edge for edge in order.edges if not edge.circle] * len(order.locks):
        rank[edge.next] = max(rank[edge.next], rank[edge.prev] + 1)
    return sorted(order.locks, key=lambda lock: rank[lock])


def folded(name: str, room: float) -> list[str]:
    """A name in lines that take `room` at the most, broken after a sign."""
    lines = [""]
    for part in re.split(r"(?<=[_>.])", name):
        if lines[-1] and wide(lines[-1] + part, TYPE) > room:
            lines.append("")
        lines[-1] += part
    return lines


def _ladder(sheet: Sheet, order: LockOrder) -> None:
    locks = outer_first(order)
    pitch = min(sheet.inside / len(locks), WIDEST)
    names = {lock: folded(lock, pitch - 22) for lock in locks}
    middle = {lock: pitch * (number + 0.5) for number, lock in enumerate(locks)}
    tall = LINE * max(map(len, names.values())) + 8
    foot = tall + ROW * len(order.edges) + 6
    for lock, lines in names.items():
        hue = RED if any(lock in circle for circle in order.circles) else HUES["blue"].light
        sheet.draw(0, *_lock(lines, middle[lock], tall, foot, hue))
    sheet.draw(tall)
    for edge in order.edges:
        sheet.draw(ROW, *_arrow(edge, middle[edge.prev], middle[edge.next], sheet.inside))
    sheet.space(12)


def _lock(lines: Sequence[str], x: float, tall: float, foot: float, hue: str) -> Iterator[Html]:
    across = max(wide(line, TYPE) for line in lines) + 14
    place = {"x": coordinate(x - across / 2), "y": 1, "width": coordinate(across), "height": tall - 2}
    yield tag("path", d=f"M{coordinate(x)} {tall}V{foot}", stroke=hue, stroke_width=1.5)
    yield tag("rect", **place, rx=4, fill=PAPER["tint"], stroke=hue, stroke_width=1.5)
    top = (tall - LINE * len(lines)) / 2 + 11
    for number, line in enumerate(lines):
        yield written(x, top + LINE * number, line, size=TYPE, anchor="middle")


def _arrow(edge: LockEdge, start: float, end: float, width: float) -> Iterator[Html]:
    """A line with its head at `end`, and above its middle where the second lock was taken."""
    way, hue = (1 if end > start else -1), RED if edge.circle else PAPER["ink"]
    pen = {"stroke_width": 2.5, "stroke_dasharray": "7 4"} if edge.circle else {"stroke_width": 1.3}
    yield tag("path", d=f"M{coordinate(start)} 23H{coordinate(end - 8 * way)}", stroke=hue, **pen)
    yield tag("path", d=f"M{coordinate(end)} 23l{-10 * way} -5v10z", fill=hue)
    text = f"◆ {edge.taken_at}" if edge.circle else edge.taken_at
    room = wide(text, TYPE)
    x = min(max((start + end - room) / 2, 0), width - room)
    yield tag("rect", x=coordinate(x - 3), y=3, width=coordinate(room + 6), height=15, fill=PAPER["paper"])
    yield written(x + room / 2, 15, text, size=TYPE, anchor="middle", ink="warning" if edge.circle else "ink")
