"""A timeline as JSON for the browser: small tables of names, and all long columns packed as one text.

Packed columns: each is its length and its numbers, 0 or more, in groups of seven bits, lowest first, the high
bit saying that another group follows (LEB128); all of them deflated, in base64. Times are differences, so
most numbers take one or two bytes, and what a driver does again and again takes few. A hundred thousand
events come to ten thousand bytes if they repeat, to four hundred thousand if every time is drawn by lot.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from .fold import Timeline
from .layout import LEGEND, letters, totals


def pack(columns: Iterable[Sequence[int]]) -> str:
    """Columns as text. Raises ValueError for a negative number."""
    out = bytearray()
    for number in (each for column in columns for each in (len(column), *column)):
        if number < 0:
            raise ValueError(f"a packed column holds no negative number such as {number}")
        while number > 127:
            out.append(number & 127 | 128)
            number >>= 7
        out.append(number)
    return b64encode(zlib.compress(out, 9)).decode("ascii")


def deltas(numbers: Iterable[int], first: int) -> list[int]:
    """Each number less the one before it; the first less `first`."""
    return [number - before for before, number in pairwise((first, *numbers))]


def timeline_record(timelines: Sequence[Timeline], labels: Sequence[str]) -> dict[str, Any]:
    """The record of the widget: one or two timelines, a letter for each lock name they have. Times are
    ns after the start.
    """
    names = letters(timelines)
    return {
        "legend": [list(row) for row in LEGEND],
        "letters": names,
        "runs": [_run(timeline, label, names) for timeline, label in zip(timelines, labels, strict=True)],
    }


def _run(timeline: Timeline, label: str, names: Mapping[str, str]) -> dict[str, Any]:
    numbers = _used(timeline)
    objects = (timeline.objects[obj] for obj in numbers)
    return {
        "label": label,
        "length": timeline.end - timeline.start,
        "events": timeline.events,
        "locks": [[names[name], name] for name in timeline.locks],
        "totals": [
            [it.acquisitions, it.contentions, it.wait_total, it.wait_max, it.hold_total, it.hold_max]
            for it in totals(timeline)
        ],
        "objects": [[each.name, each.lock, each.number] for each in objects],
        "contexts": list(timeline.contexts),
        "places": list(timeline.places),
        "looks": [
            [
                look.state,
                numbers.get(look.object, -1),
                [numbers[obj] for obj in look.held],
                look.context,
                int(look.irqs_off),
                int(look.in_interrupt),
                look.place,
                [numbers[obj] for obj in look.below],
            ]
            for look in timeline.looks
        ],
        "first": (timeline.episodes[0].asked if timeline.episodes else timeline.start) - timeline.start,
        "columns": pack(_columns(timeline, numbers)),
        "notes": [
            [note.time - timeline.start, note.cpu, int(note.finding), note.text] for note in timeline.notes
        ],
    }


def _used(timeline: Timeline) -> dict[int, int]:
    """New numbers for the objects that occur: a machine may have thousands of locks that nobody touched."""
    seen = {episode.object for episode in timeline.episodes}
    for look in timeline.looks:
        seen.update(look.held, look.below, (look.object,))
    return {obj: i for i, obj in enumerate(sorted(seen - {-1}))}


def _columns(timeline: Timeline, numbers: Mapping[int, int]) -> Iterator[Sequence[int]]:
    """The episodes: asked (the first is 0), waited, held, object, context, CPU, place; then of each lane
    its starts and its looks.
    """
    all_of = timeline.episodes
    yield deltas([e.asked for e in all_of], all_of[0].asked if all_of else 0)
    rows = [(e.got - e.asked, e.freed - e.got, numbers[e.object], e.context, e.cpu, e.place) for e in all_of]
    yield from ([row[column] for row in rows] for column in range(6))
    for lane in timeline.lanes:
        yield deltas(lane.starts, timeline.start)
        yield lane.looks
