"""The patch view that stands still: what the patch claims, the chosen function's changes, and
for each function how much changed and which locks it took.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from vtdkit.views.shared.record import Record
from vtdkit.views.shared.sheet import Picture, Sheet
from vtdkit.views.timeline.layout import duration

GROUND = {"+": "add", "-": "alarm", " ": ""}


def patch_still(record: Record, function: Record, said: str) -> Picture:
    """The patch with one of its functions; `said` is the whole in a line."""
    sheet = Sheet(said, record["title"])
    sheet.text(record["claim"])
    sheet.text("; ".join(f"{name}: {text}" for name, text in record["facts"]), size=11, ink="soft")
    sheet.space(6)
    sheet.text(f"({function['kind']})", lead=function["name"])
    sheet.source(
        (f"{sign.replace('-', '−')} ", text, GROUND[sign])
        for sign, text in near_changes(diff_lines(function))
    )
    sheet.space(8)
    locks = zip(("locks before", "locks after"), record["measured"], strict=True)
    head = ["function", "lines", *(name for name, there in locks if there)]
    rows = [
        [
            each["name"],
            f"+{each['added']} −{each['gone']}",
            *(
                lock_text(locks)
                for locks, there in zip(each["locks"], record["measured"], strict=True)
                if there
            ),
        ]
        for each in record["functions"]
    ]
    sheet.table(head, rows, mono=(0,))
    return sheet.picture()


def diff_lines(function: Record) -> list[tuple[str, str]]:
    """The function as a unified diff, all lines: a sign ("+", "-", " ") and the text."""
    before, after = (
        ["".join(text for _, text in line) for line in function[side]] for side in ("before", "after")
    )
    lines: list[tuple[str, str]] = []
    for same, run in groupby(function["rows"], itemgetter(2)):
        rows = list(run)
        if same:
            lines += [(" ", before[at]) for at, _, _ in rows]
        else:
            lines += [("-", before[at]) for at, _, _ in rows if at >= 0]
            lines += [("+", after[at]) for _, at, _ in rows if at >= 0]
    return lines


def near_changes(lines: Sequence[tuple[str, str]], around: int = 3) -> Iterator[tuple[str, str]]:
    """The changed lines with a few around them; a line of "…" stands for what is left out."""
    kept = {
        near
        for number, (sign, _) in enumerate(lines)
        if sign != " "
        for near in range(number - around, number + around + 1)
    }
    for here, run in groupby(range(len(lines)), lambda number: number in kept):
        yield from (lines[number] for number in run) if here else [(" ", "…")]


def lock_text(locks: Sequence[Record]) -> str:
    """The locks of a function in one line."""
    each = (
        f"{one['lock']} ({one['how']}): {one['times']} ×, longest {duration(one['longest'])}" for one in locks
    )
    return "; ".join(each) or "none in this run"
