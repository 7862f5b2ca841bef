"""A lock timeline that stands still: the lanes of each run and a table of its locks.

The same bars as in the browser; thin ones are drawn together so that a picture stays within some ten thousand
bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vtdkit.views.shared.html import Html, tag
from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.sheet import Picture, Sheet, coordinate, hatch, legend, wide, written

from .fold import HARDWARE, HOLDING, IDLE_LOOK, INTERRUPT, RUNNING, SPINNING, STATES, Timeline
from .layout import LEGEND, Bar, bars, duration, letters, locks_at, sentence, ticks, totals

GUTTER, ROW, BAND, AXIS = 52, 30, 18, 24  # pixels: before the lanes, from lane to lane, a lane, below them
MOST_LANES = 32
LARGEST = 45_000  # characters
STACKED = (HOLDING, SPINNING, HARDWARE, INTERRUPT, RUNNING)
RED = HUES["red"].light
HUE = {HOLDING: "blue", SPINNING: "red", HARDWARE: "orange", INTERRUPT: "purple"}
#: pattern of a state: its size, and the path drawn on paper with a pen of that width
PATTERNS = {
    SPINNING: (8, "M-2 2L2-2M-2 10L10-2M6 10L10 6", 3.0),
    HARDWARE: (6, "M1.5 1.5h.01M4.5 4.5h.01", 2.9),
    INTERRUPT: (6, "M0 3H6M3 0V6", 1.6),
}
_Box = tuple[float, float, float, float]
"""Left, right, top, height."""


def timeline_still(
    title: str,
    said: str,
    timelines: Sequence[Timeline],
    labels: Sequence[str],
    cursor: int,
    window: tuple[int, int],
) -> Picture:
    """The runs between the two ends of `window`, the cursor in them; times in ns after the start. As
    fine as `LARGEST` allows.
    """
    names = letters(timelines)
    patterns = (
        hatch(f"state-{state}", size, path, pen, HUES[HUE[state]].light, PAPER["paper"])
        for state, (size, path, pen) in PATTERNS.items()
    )
    signs = tag("defs", *patterns), *legend((_swatch(state), word) for state, word, _ in LEGEND)
    meanings = "; ".join(f"{word}: {meaning}" for _, word, meaning in LEGEND)
    for thinnest in (4.0, 6.0, 9.0, 14.0, 22.0):
        sheet = Sheet(f"{title} {said}", title)
        sheet.draw(22, *signs)
        for timeline, name in zip(timelines, labels, strict=True):
            now = sentence(timeline, min(timeline.start + cursor, timeline.end))
            sheet.space(6)
            sheet.text(f"at {duration(cursor)}: {now}", lead=name)
            _lanes(sheet, timeline, names, cursor, window, thinnest)
            _lock_table(sheet, timeline, names, cursor)
        sheet.space(4)
        sheet.text(f"{meanings}.", size=11, ink="soft")
        made = sheet.picture()
        if len(made.svg) <= LARGEST:
            break
    return made


def _lock_table(sheet: Sheet, timeline: Timeline, names: Mapping[str, str], cursor: int) -> None:
    """Who has and who waits for each lock at the cursor, and the totals of the whole run."""
    rows = [
        (
            f"{names[name]} {name}",
            *(", ".join(f"CPU{e.cpu}" for e in some[:8]) or "-" for some in now),
            f"{total.contentions:,} of {total.acquisitions:,}",
            *map(duration, (total.wait_total, total.wait_max, total.hold_total)),
        )
        for name, now, total in zip(
            timeline.locks, locks_at(timeline, timeline.start + cursor), totals(timeline), strict=True
        )
    ]
    rows.sort(key=lambda row: (len(row[0].split()[0]), row[0]))
    sheet.table(
        ("lock", "has it now", "waits now", "waits", "waited in all", "longest wait", "held in all"), rows
    )


def _lanes(
    sheet: Sheet,
    timeline: Timeline,
    names: Mapping[str, str],
    cursor: int,
    window: tuple[int, int],
    thinnest: float,
) -> None:
    """The lanes of the first CPUs; what is thinner than `thinnest` pixels is drawn together."""
    left, right = window
    lanes = timeline.lanes[:MOST_LANES]
    span, bottom = sheet.inside - GUTTER, ROW * len(lanes)

    def x(time: int) -> float:
        return GUTTER + (time - left) * span / (right - left)

    found = ticks(left, right, 7)
    grid = "".join(f"M{coordinate(x(at))} 0v{bottom + 4}" for at, _ in found)
    parts = [
        tag("path", d=grid, stroke=PAPER["faint"]),
        *(
            written(min(x(at), sheet.inside - wide(text, 12)), bottom + 17, text, size=12, ink="soft")
            for at, text in found
        ),
    ]
    for cpu, lane in enumerate(lanes):
        top = ROW * cpu + 4
        parts.append(written(0, top + 14, f"CPU{cpu}", size=12, ink="soft"))
        parts.append(tag("path", d=f"M{GUTTER} {top + BAND}h{span}", stroke=PAPER["faint"]))
        shown = bars(timeline, lane, timeline.start + left, timeline.start + right, span, thinnest)
        parts += _lane(timeline, shown, top, names)
    if left <= cursor <= right:
        parts.append(
            tag("path", d=f"M{coordinate(x(cursor))} 0v{bottom}", stroke=PAPER["ink"], stroke_width=2)
        )
    for note in timeline.notes:
        if note.finding and left <= note.time - timeline.start <= right:
            at = coordinate(x(note.time - timeline.start))
            diamond = f"M{at} {bottom - 7}l7 7l-7 7l-7-7zM{at} 0V{bottom}"
            parts.append(tag("path", d=diamond, fill=RED, stroke=RED))
    sheet.draw(bottom + AXIS, *parts)
    if len(timeline.lanes) > MOST_LANES:
        sheet.text(f"The first {MOST_LANES} of {len(timeline.lanes)} CPUs.", size=11, ink="soft")


def _lane(timeline: Timeline, shown: Sequence[Bar], top: int, names: Mapping[str, str]) -> list[Html]:
    """One path for each state, one for the blue edge of locks held meanwhile, one for interrupts
    off; then the letters.
    """
    areas: dict[str, list[_Box]] = {}
    words: list[Html] = []
    for bar in shown:
        for fill, y, tall in _parts(timeline, bar, top):
            boxes = areas.setdefault(fill, [])
            # One that goes on where the last one ended makes that longer.
            start = boxes.pop()[0] if boxes and boxes[-1][1:] == (bar.left, y, tall) else bar.left
            boxes.append((start, bar.right, y, tall))
        if bar.look >= 0 and bar.right - bar.left > 18 and (look := timeline.looks[bar.look]).object >= 0:
            letter = names.get(timeline.objects[look.object].name, "")
            words.append(_letter(letter, look.state, GUTTER + bar.left + 4, top))
    return [*(tag("path", d="".join(map(_box, boxes)), fill=fill) for fill, boxes in areas.items()), *words]


def _parts(timeline: Timeline, bar: Bar, top: int) -> Iterator[tuple[str, float, float]]:
    """Fill, top and height of what a bar is made of: each state's share, from below; then the edges."""
    bottom = top + float(BAND)
    for state in STACKED:
        tall = bar.shares[state] * BAND
        bottom -= tall
        if tall >= 0.5:
            yield _fill(state), bottom, tall
    look = timeline.looks[bar.look] if bar.look >= 0 else IDLE_LOOK
    if look.state != HOLDING and (look.held or look.below):
        yield HUES["blue"].light, top, 3
    if bar.irqs_off > 0.5:
        yield PAPER["ink"], top + BAND + 2, 3


def _box(box: _Box) -> str:
    left, right, y, tall = box
    across = coordinate(right - left)
    return f"M{coordinate(GUTTER + left)} {coordinate(y)}h{across}v{coordinate(tall)}h-{across}z"


def _letter(letter: str, state: int, x: float, top: int) -> Html:
    """Which lock it is; where the ground is hatched, with an edge of paper round it."""
    ink = HUES["blue"].on_light if state == HOLDING else "ink"
    bold = written(x + 2, top + 14, letter, size=12, ink=ink, weight="bold")
    edge = {"stroke": PAPER["paper"], "stroke_width": 5, "paint_order": "stroke"}
    return bold if state == HOLDING else tag("g", bold, **edge)


def _swatch(state: str) -> Html:
    if state == "irqs-off":
        return tag("rect", y=8, width=24, height=3, fill=PAPER["ink"])
    fill = "none" if state == "idle" else _fill(STATES.index(state))
    return tag("rect", y=2, width=24, height=12, fill=fill, stroke=PAPER["line"])


def _fill(state: int) -> str:
    if state == RUNNING:
        return PAPER["tint"]
    return f"url(#state-{state})" if state in PATTERNS else HUES[HUE[state]].light
