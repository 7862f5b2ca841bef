"""What a timeline shows, as plain data: the state at one instant, the totals of each lock, the bars of
each lane, the words.

All functions are pure. Times are virtual nanoseconds, as in the trace. The widget computes the same in
the browser from the same `Timeline`; tests hold the two together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, cycle, product
from string import ascii_uppercase

from vtdkit.kernel.record import units
from vtdkit.kernel.record.lockstat import Side
from vtdkit.vtd.plain import told

from .fold import HARDWARE, HOLDING, IDLE, INTERRUPT, RUNNING, SPINNING, STATES, Episode, Lane, Look, Timeline

#: what each state is called in a legend, for somebody who has never seen a lock
LEGEND = (
    ("idle", "idle", "the CPU has nothing to do"),
    ("running", "runs", "works, and has no lock"),
    ("holding", "holds a lock", "works inside the part that the lock guards; the letter says which lock"),
    ("spinning", "spins", "waits for a lock that another CPU has, and can do nothing else meanwhile"),
    ("hardware", "waits for hardware", "watches a word in memory until the hardware has written it"),
    ("interrupt", "handles an interrupt", "left what it was doing to serve a device or a timer"),
    ("irqs-off", "interrupts off", "no interrupt gets through to this CPU (a bar below the lane)"),
)
UNITS = units.UNITS[:3]  #: as in timeline_model.js
ORDER = (HOLDING, SPINNING, HARDWARE, INTERRUPT, RUNNING, IDLE)
NAMED_AT_MOST = 8
LETTERS = (*ascii_uppercase, *map("".join, product(ascii_uppercase, repeat=2)))  #: A … Z, AA, AB …


def duration(ns: int) -> str:
    """A length of time with its unit, ms at the most."""
    return units.duration(ns, UNITS)


def letters(timelines: Iterable[Timeline]) -> dict[str, str]:
    """A letter for each lock class: A is the one waited for longest, over all the timelines together."""
    waited = Counter[str]()
    for timeline in timelines:
        waited.update({n: t.wait_total for n, t in zip(timeline.locks, totals(timeline), strict=True)})
    return dict(zip(sorted(waited, key=lambda name: (-waited[name], name)), cycle(LETTERS), strict=False))


# -- totals -------------------------------------------------------------------


def totals(timeline: Timeline) -> tuple[Side, ...]:
    """Each lock class over the whole timeline, in the order of `timeline.locks`. A wait that is not over
    counts up to the end, so that a deadlock has waits; a hold that is not over does not count.
    """
    episodes: list[list[Episode]] = [[] for _ in timeline.locks]
    for episode in timeline.episodes:
        episodes[timeline.objects[episode.object].lock].append(episode)
    return tuple(_totals(each, timeline.end) for each in episodes)


def _totals(episodes: Sequence[Episode], end: int) -> Side:
    waits = [min(e.got, end) - e.asked for e in episodes]
    holds = [e.freed - e.got for e in episodes if e.freed <= end]
    return Side(
        acquisitions=sum(e.got <= end for e in episodes),
        contentions=sum(ns > 0 for ns in waits),
        wait_total=sum(waits),
        wait_max=max(waits, default=0),
        hold_total=sum(holds),
        hold_max=max(holds, default=0),
    )


# -- one instant --------------------------------------------------------------


def looks_at(timeline: Timeline, time: int) -> list[Look]:
    """What each CPU does at an instant; outside the timeline, what it did first or last."""
    numbers = (lane.looks[max(bisect_right(lane.starts, time) - 1, 0)] for lane in timeline.lanes)
    return [timeline.looks[number] for number in numbers]


def locks_at(timeline: Timeline, time: int) -> list[tuple[list[Episode], list[Episode]]]:
    """Who has and who waits for each lock at an instant, in the order of `timeline.locks`."""
    now: list[tuple[list[Episode], list[Episode]]] = [([], []) for _ in timeline.locks]
    for e in timeline.episodes:
        if e.asked <= time < e.freed:
            holders, waiters = now[timeline.objects[e.object].lock]
            (waiters if e.got > time else holders).append(e)
    return now


def label(timeline: Timeline, obj: int) -> str:
    """A lock's name, with its number where the class has several."""
    found = timeline.objects[obj]
    return f"{found.name} #{found.number}" if found.number else found.name


def sentence(timeline: Timeline, time: int) -> str:
    """What every CPU does at an instant, in words; CPUs that do the same share a sentence."""
    groups: dict[tuple[int, str], list[str]] = {}
    looks = looks_at(timeline, time)
    for cpu, look in enumerate(looks):
        who = f"CPU{cpu}" if look.context < 0 else f"CPU{cpu} ({timeline.contexts[look.context]})"
        groups.setdefault((ORDER.index(look.state), _doing(timeline, look)), []).append(who)
    parts = [
        f"{_list(who)} {doing}" for (_, doing), who in sorted(groups.items(), key=lambda item: item[0][0])
    ]
    on_cpu = {look.context for look in looks}
    parts += [
        f"{timeline.contexts[e.context]} sleeps until it gets {label(timeline, e.object)}"
        for _, waiters in locks_at(timeline, time)
        for e in waiters
        if e.context not in on_cpu
    ]
    return ". ".join(parts) + "."


def _doing(timeline: Timeline, look: Look) -> str:
    held = _list([label(timeline, obj) for obj in look.held])
    what = label(timeline, look.object) if look.object >= 0 else ""
    words = {
        IDLE: "idle",
        RUNNING: "running",
        HOLDING: f"holding {held}",
        SPINNING: f"spinning for {what}",
        HARDWARE: f"waiting for hardware ({what})",
        INTERRUPT: "in an interrupt",
    }[look.state]
    words += f" while holding {held}" if held and look.state in (SPINNING, HARDWARE) else ""
    below = _list([label(timeline, obj) for obj in look.below])
    more = told(
        (look.in_interrupt and look.state != INTERRUPT, "in an interrupt"),
        (below, f"on top of a thread that holds {below}"),
        (look.irqs_off, "interrupts off"),
    )
    return ", ".join([words, *more])


def _list(words: Sequence[str]) -> str:
    """One, two and three; many: the first eight and how many more."""
    if len(words) > NAMED_AT_MOST:
        return f"{', '.join(words[:NAMED_AT_MOST])} and {len(words) - NAMED_AT_MOST} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# -- pictures -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a lane, `left` and `right` in the units of the picture's width.

    One span: `look` is its number. Several that are too short to tell apart: `look` is -1. `shares` says
    which part of the time each state had, in the order of `STATES`; `irqs_off` is the part with interrupts
    off.
    """

    left: float
    right: float
    look: int
    shares: tuple[float, ...]
    irqs_off: float


def bars(
    timeline: Timeline, lane: Lane, start: int, end: int, width: float, thinnest: float = 2.0
) -> list[Bar]:
    """A lane between two instants as bars over `width`; what would be thinner than
    `thinnest` is drawn together.
    """
    scale = width / (end - start)
    starts, looks = lane.starts, lane.looks
    found: list[Bar] = []
    crowd: list[tuple[int, int]] = []  # look, ns: short spans not yet drawn
    left = 0.0
    for i in range(max(bisect_right(starts, start) - 1, 0), len(starts)):
        begin, stop = max(starts[i], start), min(starts[i + 1] if i + 1 < len(starts) else timeline.end, end)
        if begin >= end:
            break
        right = (stop - start) * scale
        if (stop - begin) * scale >= thinnest:
            if crowd:
                found.append(_crowd(timeline, left, (begin - start) * scale, crowd))
                crowd = []
            found.append(
                _crowd(timeline, (begin - start) * scale, right, [(looks[i], stop - begin)], looks[i])
            )
            left = right
        else:
            crowd.append((looks[i], stop - begin))
            if right - left >= thinnest:
                found.append(_crowd(timeline, left, right, crowd))
                crowd, left = [], right
    if crowd:
        found.append(_crowd(timeline, left, min(width, (timeline.end - start) * scale), crowd))
    return found


def _crowd(
    timeline: Timeline, left: float, right: float, spans: Sequence[tuple[int, int]], look: int = -1
) -> Bar:
    """The bar of one or several spans, each its look and its length."""
    parts, off = [0] * len(STATES), 0
    for number, ns in spans:
        parts[timeline.looks[number].state] += ns
        off += ns * timeline.looks[number].irqs_off
    whole = sum(parts) or 1
    return Bar(left, right, look, tuple(part / whole for part in parts), off / whole)


def ticks(start: int, end: int, most: int) -> list[tuple[int, str]]:
    """Round instants for an axis from `start` to `end`, at most `most`, each with its text:
    all in one unit.
    """
    step = 1
    while (end - start) // step > most:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    unit, name = next((size, name) for name, size in UNITS[::-1] if end >= 10 * size or size == 1)
    decimals = next(number for number in count() if step * 10**number % unit == 0)
    return [
        (at, f"{at / unit:,.{decimals}f} {name}") for at in range(-(-start // step) * step, end + 1, step)
    ]
