"""How a kind of text is declared: which lines begin it, which rows follow, who tells what it means.

A `Format` is a row of a table. Lines of its `head` that agree in the fields `same` are one `Group`; a format
with a `row` opens a block instead, to which the rows that follow belong. Patterns meet lines in which every
run of blanks is one blank, and which a mail programme may have wrapped (`whole`: a word without which the
line goes on). They are linear: no nested repetition, and each repetition bounded.

`tell` is called when all has been read, in the order of the table, so that what is told first (what a unit
can do) is known to what comes later (a walk through its tables); `Text` is what they know together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vtdkit.kernel.record.lockstat import ContentionRow, LockStat

from .machine import Tables
from .report import Piece

HEX = r"(?:0x)?[\da-fA-F]{1,18}\b"
BDF = r"[\da-fA-F]{2}:[01][\da-fA-F]\.[0-7]"
Row = dict[str, str]


def pattern(text: str) -> re.Pattern[str]:
    """A pattern in which HEX stands for a number and BDF for a bus address."""
    return re.compile(text.replace("HEX", HEX).replace("BDF", BDF))


def either(words: Iterable[str]) -> str:
    """A pattern for any of these words, by their beginnings: far faster than one after the other."""
    rests: dict[str, list[str]] = {}
    for word in words:
        rests.setdefault(word[:1], []).append(word[1:])
    parts = [re.escape(first) + (either(rests[first]) if first else "") for first in sorted(rests)[::-1]]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def fields(row: re.Pattern[str] | None, text: str) -> list[Row]:
    """What each row in a text says, by name."""
    return [said(match) for match in (row.finditer(text) if row else ())]


def said(match: re.Match[str]) -> Row:
    """What a match says; alternatives that say the same have names that differ in "_" at the end."""
    return {name.rstrip("_"): value for name, value in match.groupdict().items() if value}


def holding(notes: Mapping[str, object]) -> tuple[str, ...]:
    """Those notes that hold."""
    return tuple(note for note, holds in notes.items() if holds)


def number(text: str) -> int:
    """A number that is printed in hex, with or without 0x."""
    return int(text, 16)


@dataclass(slots=True)
class Text:
    """What is known of a whole text: units by name with CAP, ECAP and VER, their tables, locks."""

    registers: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    width: int | None = None
    tables: dict[str, Tables] = field(default_factory=dict)
    locks: list[LockStat] = field(default_factory=list)
    waits: list[ContentionRow] = field(default_factory=list)

    def of(self, name: str, *, scalable: bool = False) -> Tables:
        """The tables of a unit, made when first named; `scalable` then says its mode."""
        tables = self.tables.setdefault(name, Tables(name, scalable=scalable))
        tables.registers, tables.width = self.registers.get(name), self.width
        return tables


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of text. `literal` must be in a line that begins it, or what the pattern `gate` says; `loose`
    is a pattern of rows that need no head.
    """

    kind: str
    literal: str
    head: re.Pattern[str]
    tell: Callable[[Group, Text], Iterator[Piece]]
    row: re.Pattern[str] | None = None
    whole: str = ""
    loose: str = ""
    gate: str = ""
    same: tuple[str, ...] = ()


@dataclass(slots=True)
class Group:
    """Lines that belong together: the first, up to a number of others with their places, how many in all.
    `fault` is the last fault line before them.
    """

    format: Format
    line: int
    rows: list[tuple[int, Row]]
    count: int = 1
    fault: Row | None = None

    @property
    def first(self) -> Row:
        return self.rows[0][1]

    def piece(self, title: str, *facts: tuple[str, str], **more: Any) -> Piece:
        """A piece about these lines."""
        return Piece(
            **{
                "kind": self.format.kind,
                "line": self.line,
                "title": title,
                "facts": facts,
                "count": self.count,
                **more,
            }
        )
