"""The locks of a real machine beside those of a simulated one: where the time spent waiting went.

The simulated run is the nearest there is: as many CPUs unmapping as fast as they can, on the version of the
driver whose locks are in the text (`device_domain_lock`: before the series; a lock for each domain: 6.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vtdkit.kernel.record.lockstat import ContentionRow
from vtdkit.kernel.record.lockstat_report import LockStatTable
from vtdkit.kernel.record.units import duration
from vtdkit.lab.scaling import Version, measure, name_of
from vtdkit.views.shared.html import Html, tag
from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.sheet import Picture, Sheet, coordinate, written

from .causes import lesson_of

SHOWN = 8
CPUS = 8
GAP, ROW, TOP = 24, 36, 26  # pixels: between panels, of a lock in one, above the first
Bar = tuple[str, float, str, bool]  # name, share of the time waited, in words, is it the driver's


def nearest(names: Sequence[str]) -> Version:
    """The version of the driver whose locks these are."""
    return 0 if any("device_domain_lock" in name for name in names) else "6.0-rc5"


def real_bars(locks: LockStatTable, waits: Sequence[ContentionRow]) -> list[Bar]:
    """The locks most waited for, the driver's among them in any case."""
    rows = [(row.name, row.write.wait_total + row.read.wait_total) for row in locks]
    rows = rows or [(row.what, row.wait_total) for row in waits]
    total = sum(waited for _, waited in rows) or 1
    rows.sort(key=lambda row: -row[1])
    chosen = rows[:SHOWN] + [row for row in rows[SHOWN:] if lesson_of(row[0])][:4]
    return [(name, waited / total, duration(waited), lesson_of(name) is not None) for name, waited in chosen]


def simulated_bars(version: Version) -> list[Bar]:
    """The same of a simulated run."""
    point = measure(version, CPUS)
    return [(lock.lock, lock.share, f"{lock.contentions:,} waits", True) for lock in point.locks[:SHOWN]]


def locks_figure(locks: LockStatTable, waits: Sequence[ContentionRow], *, simulated: bool = True) -> Picture:
    """Bars of both machines. Raises ValueError for a text that shows no locks."""
    bars = real_bars(locks, waits)
    if not bars:
        raise ValueError(
            "the text shows no lock statistics; give it /proc/lock_stat or `perf lock contention`"
        )
    panels = [("this machine", bars)]
    if simulated:
        version = nearest([name for name, *_ in bars])
        panels.append((f"simulated: {name_of(version)}, {CPUS} CPUs unmapping", simulated_bars(version)))
    label = "; ".join(
        f"{title}: " + ", ".join(f"{name} {share:.0%}" for name, share, *_ in part) for title, part in panels
    )
    sheet = Sheet(label)
    wide = (sheet.inside - GAP * (len(panels) - 1)) / len(panels)
    parts = [part for at, panel in enumerate(panels) for part in _panel(at * (wide + GAP), wide, *panel)]
    sheet.draw(TOP + ROW * max(len(part) for _, part in panels), *parts)
    return sheet.picture()


def _panel(left: float, wide: float, title: str, bars: Sequence[Bar]) -> Iterator[Html]:
    """Each bar on a line that is 100 % long, its words above it; the driver's are bold, and orange."""
    yield written(left, 14, f"waiting, by lock: {title}")
    for place, (name, share, words, ours) in enumerate(bars):
        y, across = TOP + ROW * place, coordinate(wide * min(share, 1.0))
        text, hue = f"{name[:40]}  {share:.0%}, {words}", HUES["orange" if ours else "blue"].light
        yield written(left, y + 12, text, size=11, weight="bold" if ours else None)
        yield tag("path", d=f"M{coordinate(left)} {y + 22}h{coordinate(wide)}", stroke=PAPER["line"])
        yield tag("path", d=f"M{coordinate(left)} {y + 17}h{across}v10h-{across}z", fill=hue)
