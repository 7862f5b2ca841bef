"""Lock statistics of a real machine: /proc/lock_stat as records, `perf lock contention` and `perf lock
report`.

Rows of lock_stat are known by their shape (a name, a colon, twelve numbers), so that a part of the file will
do; versions 0.2 and 0.3 (ten numbers, no averages) and 0.4 are read. Times become ns. The kernel rounds them
to 10 ns; where the digit that it left out matters for an average, one is taken that gives the printed
average."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator

from vtdkit.kernel.record.lockstat import ContentionRow, LockStat, Side
from vtdkit.kernel.record.units import duration

from .causes import lesson_of
from .formats import Format, Group, Text, pattern
from .report import Piece

_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def _lock_stat(group: Group, text: Text) -> Iterator[Piece]:
    """The classes as records: both sides of each, and the places that waited (first list) or held
    (second).
    """
    sides: dict[str, dict[str, Side]] = {}
    places: dict[str, tuple[list[tuple[Hashable, int]], ...]] = {}
    marked = {row["name"] for _, row in group.rows if "name" in row}
    name, dashes = "", 0
    for _, row in group.rows:
        if "numbers" in row and len(row["numbers"].split()) in (10, 12):
            side = row["name"][-1] if row["name"][-2:] in ("-W", "-R") else "W"
            name, dashes = row["name"].removesuffix(f"-{side}"), 0
            sides.setdefault(name, {})[side] = Side(*_counts(row["numbers"].split()))
            places.setdefault(name, ([], []))
        elif "dashes" in row:
            dashes += 1
        elif "place" in row and name and dashes in (1, 2):
            places[name][dashes - 1].append((row["place"], int(row["times"])))
    rows = []
    for name, each in sides.items():
        # a lone row of writers whose readers' row is cut off keeps its mark: how often those took it is
        # unknown
        cut = "-W" if set(each) == {"W"} and f"{name}-W" in marked else ""
        numbered = re.fullmatch(r"(.{1,60})/(\d{1,2})", name + cut)
        whole, subclass = (numbered[1], int(numbered[2])) if numbered else (name + cut, 0)
        waited, held = map(tuple, places[name])
        write, read = each.get("W", Side()), each.get("R", Side())
        rows.append(LockStat(whole, subclass, write, read, waited, held))
    text.locks += rows
    if rows:
        means = "Who had to wait for which lock, all CPUs together. Waiting of no time is not counted."
        title, strange = f"/proc/lock_stat, {len(rows)} classes", "none of these locks is the driver's"
        yield _most_waited(group, title, list(map(_stat, rows)), 6, means, strange)


def _counts(numbers: list[str]) -> Iterator[int]:
    """A row's ten or twelve numbers as the fields of a `Side`, in ns."""
    half = len(numbers) // 2
    for bounces, count, least, most, total, *mean in (numbers[:half], numbers[half:]):
        yield from (int(bounces), int(count))
        yield from (wait_ns(f"{least} us"), wait_ns(f"{most} us"))
        yield _total(int(count), wait_ns(f"{total} us"), [wait_ns(f"{each} us") for each in mean])


def _total(count: int, total: int, mean: list[int]) -> int:
    """The total of a side, made exact by the average where one was printed: see the module's text."""
    fits = (
        t
        for t in sorted(range(total - 5, total + 5), key=lambda t: abs(t - total))
        if count and [(t // count + 5) // 10 * 10] == mean
    )
    return next(fits, total)


def wait_ns(text: str) -> int:
    """A time as perf prints it; without a unit it is in ns."""
    value, _, unit = text.partition(" ")
    whole, _, part = value.partition(".")
    scale = _UNITS[unit or "ns"]
    return int(int(whole) * scale + int(part or 0) * scale // 10 ** len(part))


def _most_waited(
    group: Group, title: str, facts: list[tuple[int, str, str]], shown: int, means: str, strange: str = ""
) -> Piece:
    """Time, name and words of each: those most waited for are shown, and the driver's; `strange` is said if
    none is the driver's.
    """
    facts.sort(key=lambda fact: -fact[0])
    chosen = [*facts[:shown], *(fact for fact in facts[shown:] if lesson_of(fact[1]))][:24]
    lesson = next((found for fact in facts if (found := lesson_of(fact[1]))), None)
    notes = (strange,) if strange and not lesson else ()
    told = ((name[:40], says) for _, name, says in chosen)
    return group.piece(title, *told, count=1, means=means, lesson=lesson or 12, notes=notes)


def _stat(row: LockStat) -> tuple[int, str, str]:
    """Time waited, name, and what is told of a class, readers and writers together."""
    both = row.write, row.read
    waited, held = sum(side.wait_total for side in both), sum(side.hold_total for side in both)
    longest, taken = max(side.wait_max for side in both), sum(side.acquisitions for side in both)
    says = f"taken {taken:,} times, held {duration(held)} in all; "
    says += f"{row.contentions:,} had to wait, {duration(waited)} in all"
    return waited, row.name, says + (f", {duration(longest)} at most" if row.contentions else "")


def _perf(group: Group, text: Text) -> Iterator[Piece]:
    """Rows of `perf lock`. The shortest wait is unknown where it is not printed, and a row without a longest
    one is told only.
    """
    told = []
    for row in (row for _, row in group.rows if "times" in row):
        # contention: total, max, avg; report: avg, total, and perhaps max and min
        times = [wait_ns(each) for each in re.findall(_TIME, row["times"])]
        total, *longest = times[1:] if "acquired" in row else times[:2]
        count, kind = int(row["count"]), row.get("kind", "")
        if longest:
            least = longest[1] if len(longest) > 1 else None
            text.waits.append(ContentionRow(row["what"], kind, count, total, longest[0], least))
        says = f"{count:,} waits{f' for a {kind}' if kind else ''}, {duration(total)} in all"
        most = f", {duration(longest[0])} at most" if longest else ""
        told.append((total, row["what"], says + most))
    means = "Waits for locks, put together by caller, lock or thread."
    yield _most_waited(group, f"perf lock, {len(told)} rows", told, 8, means)


_COUNT, _MICROSECONDS = r"\d{1,15}", r"\d{1,15}(?:\.\d{1,3})?"
_SIDE = rf"{_COUNT} {_COUNT}(?: {_MICROSECONDS}){{3,4}}"
_TIME = r"\d{1,12}(?:\.\d{1,4})?(?: (?:ns|us|ms|s|m|h))?"
_KIND = r"(?:spinlock|mutex|rwsem|rwlock|rtmutex|percpu-rwsem|pcpu-sem|semaphore)(?::[RW])?"
FORMATS = (
    Format(
        "lock statistics",
        "lock_stat version",
        pattern(r"lock_stat version [\d.]{1,5}"),
        _lock_stat,
        row=pattern(
            rf"^(?P<name>\S.{{0,60}}?): (?P<numbers>{_SIDE} {_SIDE})$|^"
            r"(?P<dashes>-{3,60})$"
            r"|^\S.{0,48}? (?P<times>\d{1,18}) \[<[\da-fA-F]{1,16}>\] (?P<place>\S{1,120})|^"
            r"(?P<title>class name con-bounces|[.-]{70})"
        ),
        loose=r"\.\d\d\r?(?:\n|$)",
    ),
    Format(
        "lock statistics",
        "contended",
        pattern(r"contended total wait max wait avg wait"),
        _perf,
        row=pattern(
            rf"^(?P<count>\d{{1,12}}) (?P<times>{_TIME} {_TIME} {_TIME}) (?:(?P<kind>{_KIND}) )?"
            rf"(?P<what>\S.{{0,100}})$"
        ),
    ),
    Format(
        "lock statistics",
        "acquired",
        pattern(r"Name acquired contended avg wait"),
        _perf,
        row=pattern(
            rf"^(?P<what>\S.{{0,60}}?) (?P<acquired>\d{{1,12}}) (?P<count>\d{{1,12}}) "
            rf"(?P<times>{_TIME} {_TIME}(?: {_TIME}){{0,2}})$"
        ),
    ),
)
