"""The locks of a real machine beside those of a simulated one: where the time spent waiting went.

The simulated run is the nearest there is: as many CPUs unmapping as fast as they can, on the version of the
driver whose locks are in the text (`device_domain_lock`: before the series; a lock for each domain: 6.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vtdkit.kernel.record.lockstat import ContentionRow
from vtdkit.kernel.record.lockstat_report import LockStatTable
from vtdkit.kernel.record.units import duration
from vtdkit.lab.scaling import Version, measure, name_of
from vtdkit.views.charts.paper import figure
from vtdkit.views.shared.palette import HUES, PAPER

from .causes import lesson_of

SHOWN = 8
CPUS = 8
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


def locks_figure(locks: LockStatTable, waits: Sequence[ContentionRow], *, simulated: bool = True) -> Any:
    """A matplotlib figure. Raises ValueError for a text that shows no locks."""
    bars = real_bars(locks, waits)
    if not bars:
        raise ValueError(
            "the text shows no lock statistics; give it /proc/lock_stat or `perf lock contention`"
        )
    panels = [("this machine", bars)]
    if simulated:
        version = nearest([name for name, *_ in bars])
        panels.append((f"simulated: {name_of(version)}, {CPUS} CPUs unmapping", simulated_bars(version)))
    alt = "; ".join(
        f"{title}: " + ", ".join(f"{name} {share:.0%}" for name, share, *_ in part) for title, part in panels
    )
    paper = figure(9.0, 0.6 + 0.3 * max(len(part) for _, part in panels), layout="constrained", alt=alt)
    for ax, (title, part) in zip(paper.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(ax, title, part)
    return paper


def _panel(ax: Any, title: str, bars: Sequence[Bar]) -> None:
    """Bars with their names above and their times at the end; the driver's are hatched, too."""
    for place, (name, share, words, ours) in enumerate(bars):
        hue = HUES["orange" if ours else "blue"].light
        ax.barh(-place, share, height=0.55, color=hue, hatch="//" if ours else None, edgecolor=PAPER["paper"])
        ax.annotate(
            f"{name[:40]}  {share:.0%}, {words}",
            (0, -place),
            (3, 8),
            textcoords="offset points",
            fontsize=7.5,
        )
    ax.set_title(f"{title}: time spent waiting, by lock", loc="left", fontsize=9.5)
    ax.set_xlim(0, 1)
    ax.set_ylim(-len(bars) + 0.4, 0.9)
    ax.set_yticks([])
    ax.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"], fontsize=8)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
