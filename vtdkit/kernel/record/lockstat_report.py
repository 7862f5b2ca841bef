"""Lock statistics as text: /proc/lock_stat (version 0.4) and `perf lock contention`.

Same columns, widths, units and rounding (kernel/locking/lockdep_proc.c, tools/perf/builtin-lock.c), so that a
reader who knows one knows the other. Where the kernel prints an address we print the number of the place,
counted through the text; where perf prints a process id or a lock's address, we have names only.
"""

from collections.abc import Hashable, Iterable

from .lockstat import ContentionRow, LockStat, Side, contention_rows

_COLUMNS = (
    "con-bounces",
    "contentions",
    "waittime-min",
    "waittime-max",
    "waittime-total",
    "waittime-avg",
    "acq-bounces",
    "acquisitions",
    "holdtime-min",
    "holdtime-max",
    "holdtime-total",
    "holdtime-avg",
)
_WIDTH = 40 + 1 + 12 * 15
_POINTS = 4
"""Places that the kernel keeps per class and kind: the first ones, not the most frequent."""


def _class_lines(row: LockStat, numbers: dict[Hashable, int]) -> list[str]:
    name = row.name[: 35 if row.subclass else 37] + (f"/{row.subclass}" if row.subclass else "")
    readers = row.read.acquisitions > 0
    lines = []
    if row.write.acquisitions:
        lines.append(_side_line(f"{name:>38}-W:" if readers else f"{name:>40}:", row.write))
    if readers:
        lines.append(_side_line(f"{name:>38}-R:", row.read))
    if not row.contentions:
        return lines
    for places in (row.points, row.holders):
        if places:
            lines.append(f"{'-' * (len(name) + 2 * readers):>40}")
        for place, count in places[:_POINTS]:
            number = numbers.setdefault(place, len(numbers) + 1)
            lines.append(f"{name:>40} {count:>14} {f'[<{number}>]':>29} {place}")
    return [*lines, "", "." * _WIDTH, ""] if row.holders else lines


def _side_line(label: str, side: Side) -> str:
    return (
        f"{label}{side.con_bounces:>14} {side.contentions:>14}"
        f"{_timed(side.wait_min, side.wait_max, side.wait_total, side.wait_avg)}"
        f" {side.acq_bounces:>14} {side.acquisitions:>14}"
        f"{_timed(side.hold_min, side.hold_max, side.hold_total, side.hold_avg)}"
    )


def _timed(*times: int) -> str:
    """Times in us with two decimals, halves rounded up."""
    hundredths = ((ns + 5) // 10 for ns in times)
    return "".join(f" {f'{each // 100}.{each % 100:02}':>14}" for each in hundredths)


class LockStatTable(tuple[LockStat, ...]):
    """Lock classes; a tuple of `LockStat`. Prints as /proc/lock_stat does, most contentions first."""

    def __repr__(self) -> str:
        lines = [
            "lock_stat version 0.4",
            "-" * _WIDTH,
            f"{'class name':>40} " + " ".join(f"{column:>14}" for column in _COLUMNS),
            "-" * _WIDTH,
            "",
        ]
        numbers: dict[Hashable, int] = {}
        for row in sorted(self, key=lambda row: -row.contentions):
            lines += _class_lines(row, numbers)
        return "\n".join(lines) + "\n"

    def contention(self) -> str:
        """The same waits as `perf lock contention -l` prints them."""
        return lock_contention(contention_rows(self))


#: in the largest unit of which there is one
_UNITS = ((3600 * 10**9, "h "), (60 * 10**9, "m "), (10**9, "s "), (10**6, "ms"), (10**3, "us"))


def lock_contention(rows: Iterable[ContentionRow]) -> str:
    """The text of `perf lock contention`."""
    lines = [
        f"{'contended':>10} {'total wait':>12} {'max wait':>12} {'avg wait':>12}   {'type':>10}   lock",
        "",
    ]
    for row in rows:
        times = " ".join(_scaled(time) for time in (row.wait_total, row.wait_max, row.avg_wait))
        lines.append(f"{row.contended:>10} {times}   {row.kind:>10}   {row.what}")
    return "\n".join(lines) + "\n"


def _scaled(ns: int) -> str:
    """A time, 12 columns wide."""
    return next((f"{ns / base:>9.2f} {unit}" for base, unit in _UNITS if ns >= base), f"{ns:>9} ns")
