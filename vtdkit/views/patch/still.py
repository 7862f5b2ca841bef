"""The patch view without a browser: the chosen function's changes and the locks, as
HTML for saved notebooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vtdkit.views.shared.html import MONO, Html, join, still, table, tag
from vtdkit.views.shared.record import Record

from .record import in_ns

SIGNS = {"bad": "✗", "good": "✓", "note": "•"}
"""The sign of each severity, besides its colour and its word."""
_AROUND = 3


def diff_lines(function: Record) -> list[tuple[str, str]]:
    """The function as a unified diff, all lines: a sign ("+", "-", " ") and the text."""
    lines: list[tuple[str, str]] = []
    waiting: list[tuple[str, str]] = []
    for before, after, same in function["rows"]:
        if same:
            lines += [*waiting, (" ", text_of(function["before"][before]))]
            waiting = []
            continue
        if before >= 0:
            lines.append(("-", text_of(function["before"][before])))
        if after >= 0:
            waiting.append(("+", text_of(function["after"][after])))
    return [*lines, *waiting]


def text_of(line: Sequence[Sequence[str]]) -> str:
    """A line of pieces as text."""
    return "".join(text for _, text in line)


def near_changes(lines: Sequence[tuple[str, str]], around: int = _AROUND) -> Iterator[tuple[str, str]]:
    """The changed lines with a few around them; a line of "…" stands for what is left out."""
    changed = [number for number, (sign, _) in enumerate(lines) if sign != " "]
    kept = {near for number in changed for near in range(number - around, number + around + 1)}
    left_out = False
    for number, line in enumerate(lines):
        if number in kept:
            yield line
            left_out = False
        elif not left_out:
            yield " ", "…"
            left_out = True


def patch_still(record: Record, function: Record) -> Html:
    """Claim, findings, the chosen function's diff, and for each function what changed and
    which locks it took.
    """
    facts = "; ".join(f"{name}: {text}" for name, text in record["facts"])
    findings = map(_finding, record["findings"])
    return still(
        record["title"],
        tag("p", record["claim"], style="margin:2px 0"),
        tag("p", facts, style="margin:2px 0;font-size:90%"),
        *findings,
        tag("p", tag("strong", function["name"]), f" ({function['kind']})", style="margin:6px 0 0"),
        _diff(function),
        _functions(record),
    )


def _finding(finding: Record) -> Html:
    sign = f"{SIGNS[finding['severity']]} {finding['word']}:"
    return tag("p", tag("strong", sign), f" {finding['text']}", style="margin:2px 0")


_GROUND = {"+": "background:rgba(0,158,115,0.16)", "-": "background:rgba(213,94,0,0.16)", " ": ""}


def _diff(function: Record) -> Html:
    lines = near_changes(diff_lines(function))
    shown = (tag("span", f"{sign} {text}\n", style=_GROUND[sign] or None) for sign, text in lines)
    return tag("pre", join(shown), style=f"{MONO};margin:2px 0;line-height:1.35;white-space:pre-wrap")


def _functions(record: Record) -> Html:
    measured = record["measured"]
    head = [
        "function",
        "lines",
        *(f"locks {when}" for when, there in zip(("before", "after"), measured, strict=True) if there),
    ]
    return table(head, [_row(each, measured) for each in record["functions"]], mono=(0,))


def _row(function: Record, measured: Sequence[bool]) -> list[str]:
    locks = [lock_text(each) for each, there in zip(function["locks"], measured, strict=True) if there]
    return [function["name"], f"+{function['added']} -{function['gone']}", *locks]


def lock_text(locks: Sequence[Record]) -> str:
    """The locks of a function in one line."""
    each = (
        f"{one['lock']} ({one['how']}): {one['times']} ×, longest {in_ns(one['longest'])}" for one in locks
    )
    return "; ".join(each) or "none in this run"
