"""A lock timeline that stands still: SVG lanes and a table of the locks, for saved notebooks
and pages without JavaScript.

The same bars as in the browser, thinner detail drawn together so that a still stays within some ten thousand
bytes. Colours are those of white paper on a sheet of its own, as the reader's theme is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vtdkit.views.shared.html import Html, picture, still, table, tag
from vtdkit.views.shared.palette import HUES, PAPER

from .fold import HARDWARE, HOLDING, IDLE, INTERRUPT, RUNNING, SPINNING, Timeline
from .layout import LEGEND, Bar, bars, duration, label, letters, locks_at, sentence, ticks, totals

WIDTH, GUTTER, ROW, BAND, AXIS = 860, 52, 30, 18, 24
MOST_LANES = 32
LARGEST = 45_000  # characters
THINNEST = (4.0, 6.0, 9.0, 14.0, 22.0)
STACKED = (HOLDING, SPINNING, HARDWARE, INTERRUPT, RUNNING)
RED = HUES["red"].light
HUE = {HOLDING: "blue", SPINNING: "red", HARDWARE: "orange", INTERRUPT: "purple"}
#: pattern of a state: its size, and the path drawn on paper with a pen of that width
PATTERNS = {
    SPINNING: (8, "M-2 2L2-2M-2 10L10-2M6 10L10 6", 3.0),
    HARDWARE: (6, "M1.5 1.5h.01M4.5 4.5h.01", 2.9),
    INTERRUPT: (6, "M0 3H6M3 0V6", 1.6),
}


def timeline_still(
    timelines: Sequence[Timeline], labels: Sequence[str], cursor: int, window: tuple[int, int]
) -> Html:
    """The runs between the two ends of `window`, the cursor in them; times in ns after the start. As
    fine as `LARGEST` allows.
    """
    for thinnest in THINNEST:
        made = _still(timelines, labels, cursor, window, thinnest)
        if len(made) <= LARGEST:
            break
    return made


def _still(
    timelines: Sequence[Timeline],
    labels: Sequence[str],
    cursor: int,
    window: tuple[int, int],
    thinnest: float,
) -> Html:
    names = letters(timelines)
    parts: list[Html] = []
    for timeline, name in zip(timelines, labels, strict=True):
        said = sentence(timeline, min(timeline.start + cursor, timeline.end))
        parts.append(
            tag("p", tag("strong", name), f" at {duration(cursor)}: {said}", style="margin:6px 0 2px")
        )
        parts.append(lanes_svg(timeline, names, cursor, window, thinnest))
        parts.append(lock_table(timeline, names, cursor))
    meanings = [f"{word}: {meaning}" for _, word, meaning in LEGEND]
    return still(
        "Lock timeline", legend_svg(), *parts, tag("p", "; ".join(meanings) + ".", style="font-size:smaller")
    )


def lock_table(timeline: Timeline, names: Mapping[str, str], cursor: int) -> Html:
    """Who has and who waits for each lock at the cursor, and the totals of the whole run."""
    rows = []
    for now, total in zip(locks_at(timeline, timeline.start + cursor), totals(timeline), strict=True):
        have = ", ".join(f"CPU{e.cpu}" for e in now.holders[:8])
        wait = ", ".join(f"CPU{e.cpu}" for e in now.waiters[:8])
        times = (duration(ns) for ns in (total.wait_total, total.wait_max, total.hold_total))
        rows.append(
            (
                f"{names[now.name]} {now.name}",
                have or "-",
                wait or "-",
                f"{total.waits:,} of {total.taken:,}",
                *times,
            )
        )
    rows.sort(key=lambda row: (len(row[0].split()[0]), row[0]))
    return table(
        ("lock", "has it now", "waits now", "waits", "waited in all", "longest wait", "held in all"), rows
    )


def lanes_svg(
    timeline: Timeline, names: Mapping[str, str], cursor: int, window: tuple[int, int], thinnest: float
) -> Html:
    """The lanes of the first CPUs; what is thinner than `thinnest` units is drawn together."""
    left, right = window
    lanes = timeline.lanes[:MOST_LANES]
    wide, bottom = WIDTH - GUTTER - 8, ROW * len(lanes)
    scale = wide / (right - left)
    parts = [
        _patterns(),
        tag("rect", width=WIDTH, height=bottom + AXIS, fill=PAPER["paper"]),
        *_axis(left, right, wide, bottom),
    ]
    for cpu, lane in enumerate(lanes):
        top = ROW * cpu + 4
        parts.append(_text(4, top + 14, f"CPU{cpu}", PAPER["soft"]))
        parts.append(tag("path", d=f"M{GUTTER} {top + BAND}h{wide}", stroke=PAPER["faint"]))
        parts += _lane(
            timeline,
            bars(timeline, lane, timeline.start + left, timeline.start + right, wide, thinnest),
            top,
            names,
        )
    if left <= cursor <= right:
        parts.append(
            tag(
                "path",
                d=f"M{_n(GUTTER + (cursor - left) * scale)} 0v{bottom}",
                stroke=PAPER["ink"],
                stroke_width=2,
            )
        )
    for note in timeline.notes:
        at = note.time - timeline.start
        if note.finding and left <= at <= right:
            x = _n(GUTTER + (at - left) * scale)
            parts.append(
                tag("path", d=f"M{x} {bottom - 7}l7 7l-7 7l-7-7zM{x} 0V{bottom}", fill=RED, stroke=RED)
            )
    shown = (
        f"{len(lanes)} of {len(timeline.lanes)} CPUs"
        if len(timeline.lanes) > MOST_LANES
        else f"{len(lanes)} CPUs"
    )
    return picture(
        f"lanes of {shown} from {duration(left)} to {duration(right)}", WIDTH, bottom + AXIS, *parts
    )


def _lane(timeline: Timeline, shown: Sequence[Bar], top: int, names: Mapping[str, str]) -> list[Html]:
    """One path for each state, one for the blue edge of locks held meanwhile, one for interrupts
    off; then the letters.
    """
    areas: dict[str, list[tuple[float, float, float, float]]] = {}

    def add(fill: str, bar: Bar, y: float, tall: float) -> None:
        """Boxes: left, right, top, height; one that goes on where the last one ended makes that longer."""
        boxes = areas.setdefault(fill, [])
        start = boxes.pop()[0] if boxes and boxes[-1][1:] == (bar.left, y, tall) else bar.left
        boxes.append((start, bar.right, y, tall))

    words = []
    for bar in shown:
        if bar.look < 0:
            bottom = top + float(BAND)
            for state in STACKED:
                tall = bar.shares[state] * BAND
                if tall >= 0.5:
                    add(_fill(state), bar, bottom - tall, tall)
                bottom -= tall
            if bar.irqs_off > 0.5:
                add(PAPER["ink"], bar, top + BAND + 2, 3)
            continue
        look = timeline.looks[bar.look]
        if look.state != IDLE:
            add(_fill(look.state), bar, top, BAND)
        if look.state != HOLDING and (look.held or look.below):
            add(HUES["blue"].light, bar, top, 3)
        if look.irqs_off:
            add(PAPER["ink"], bar, top + BAND + 2, 3)
        if look.object >= 0 and bar.right - bar.left > 18:
            words += _letter(
                names.get(label(timeline, look.object).split(" #")[0], ""),
                look.state,
                GUTTER + bar.left + 4,
                top,
            )
    return [*(tag("path", d="".join(map(_box, boxes)), fill=fill) for fill, boxes in areas.items()), *words]


def _box(box: tuple[float, float, float, float]) -> str:
    left, right, y, tall = box
    return f"M{_n(GUTTER + left)} {_n(y)}h{_n(right - left)}v{_n(tall)}h{_n(left - right)}z"


def _letter(letter: str, state: int, x: float, top: int) -> list[Html]:
    if not letter:
        return []
    if state == HOLDING:
        return [_text(_n(x + 2), top + 14, letter, HUES["blue"].on_light, weight="bold")]
    ground = tag("rect", x=_n(x), y=top + 2, width=9 * len(letter) + 4, height=14, fill=PAPER["paper"])
    return [ground, _text(_n(x + 2), top + 14, letter, PAPER["ink"], weight="bold")]


def _axis(left: int, right: int, wide: int, bottom: int) -> list[Html]:
    found = ticks(left, right, 7)
    xs = [GUTTER + (at - left) * wide / (right - left) for at, _ in found]
    lines = tag("path", d="".join(f"M{_n(x)} 0v{bottom + 4}" for x in xs), stroke=PAPER["faint"])
    words = zip(xs, (text for _, text in found), strict=True)
    return [lines, *(_text(_n(min(x, WIDTH - 60)), bottom + 17, text, PAPER["soft"]) for x, text in words)]


def legend_svg() -> Html:
    """One row: a swatch and a word for each state."""
    parts, x = [_patterns(), tag("rect", width=WIDTH, height=20, fill=PAPER["paper"])], 4
    fills = {
        "running": _fill(RUNNING),
        "holding": _fill(HOLDING),
        "spinning": _fill(SPINNING),
        "hardware": _fill(HARDWARE),
        "interrupt": _fill(INTERRUPT),
    }
    for state, word, _ in LEGEND:
        if state == "irqs-off":
            parts.append(tag("rect", x=x, y=10, width=24, height=3, fill=PAPER["ink"]))
        else:
            parts.append(
                tag(
                    "rect", x=x, y=4, width=24, height=12, fill=fills.get(state, "none"), stroke=PAPER["line"]
                )
            )
        parts.append(_text(x + 29, 15, word, PAPER["ink"]))
        x += 46 + 7 * len(word)
    return picture("legend of the lanes", WIDTH, 20, *parts)


def _fill(state: int) -> str:
    if state == RUNNING:
        return PAPER["tint"]
    return f"url(#vtd-state-{state})" if state in PATTERNS else HUES[HUE[state]].light


def _patterns() -> Html:
    """The same in every still, so it does not matter whose a page uses."""
    made = []
    for state, (size, path, pen) in PATTERNS.items():
        ground = tag("rect", width=size, height=size, fill=PAPER["paper"])
        lines = tag("path", d=path, stroke=HUES[HUE[state]].light, stroke_width=pen, stroke_linecap="round")
        box = {"id": f"vtd-state-{state}", "width": size, "height": size, "patternUnits": "userSpaceOnUse"}
        made.append(tag("pattern", ground, lines, **box))
    return tag("defs", *made)


def _text(x: object, y: object, words: str, fill: str, weight: str | None = None) -> Html:
    return tag("text", words, x=x, y=y, fill=fill, font_size=12, font_family="sans-serif", font_weight=weight)


def _n(number: float) -> str:
    """A coordinate with one decimal, none where it is whole."""
    tenths = int(number * 10 + (0.5 if number >= 0 else -0.5))
    whole, part = divmod(abs(tenths), 10)
    return f"{'-' if tenths < 0 else ''}{whole}" + (f".{part}" if part else "")
