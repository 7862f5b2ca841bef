"""What is told about a text: pieces in the order of the text, and the machine they describe.

A `Piece` is one thing that was found: what it is, what it says, what that means, which check of the
specification said no, what usually causes it, and which lesson shows it. An `Explanation` holds all of them;
it prints, shows itself as cards in a notebook, and goes out as plain data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from vtdkit.kernel.record.lockstat import ContentionRow
from vtdkit.kernel.record.lockstat_report import LockStatTable
from vtdkit.views.shared.html import Html, tag
from vtdkit.vtd.faults.reasons import REASONS

from .causes import LESSONS
from .machine import Tables

SHOWN = 200  #: pieces that are printed; data has all of them


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing in a text.

    - `line` where it begins (from 1; 0 in what has no lines), `count` how often it is there
    - `facts` names and values; `checks` labels of conditions of the specification
    - `notes` whatever else must be said: what disagrees, what is unknown, what was assumed
    - `bits` a layout and a value that a bit-field card can show
    """

    kind: str
    line: int
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    means: str = ""
    checks: tuple[str, ...] = ()
    cause: str = ""
    lesson: int | None = None
    notes: tuple[str, ...] = ()
    count: int = 1
    bits: tuple[str, int] | None = None

    def rows(self) -> list[tuple[str, str]]:
        """What stands below the title: a word and a text."""
        lesson = "" if self.lesson is None else f"{self.lesson:02} · {LESSONS[self.lesson]}"
        checks = (f"{label}: {REASONS[label].name}" if label in REASONS else label for label in self.checks)
        said = [("means", self.means), *(("check", check) for check in checks), ("cause", self.cause)]
        rows = [*said, *(("note", note) for note in self.notes), ("lesson", lesson)]
        return [*self.facts, *((word, text) for word, text in rows if text)]

    def __repr__(self) -> str:
        line, times = f"line {self.line:<5} " if self.line else "", f"  ({self.count:,} times)"
        head = f"{line}{self.kind}: {self.title}{times if self.count > 1 else ''}"
        return "\n".join([head, *(f"    {word:<9} {text}" for word, text in self.rows())])

    def as_data(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "bits"}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that was understood of a text. `units` are the machine's units as far as the text shows
    their tables; `locks` and `waits` what lock_stat and perf said. `hide` replaces what is personal.
    """

    name: str
    lines: int
    understood: int
    pieces: tuple[Piece, ...]
    units: tuple[Tables, ...] = ()
    locks: LockStatTable = field(default_factory=LockStatTable)
    waits: tuple[ContentionRow, ...] = ()
    cut: bool = False  # there were more tables, or more rows of tables, than are kept
    hide: Callable[[str], str] = field(default=str, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.pieces)

    def summary(self) -> str:
        """How much of the text was understood."""
        if not self.lines:
            return self.hide(f"{self.name}: {'a DMAR table' if self.pieces else 'nothing is in it'}")
        rest = "; the rest is not about DMAR" if self.understood < self.lines else ""
        rest = "; there are more tables than are told, and the rest was not read" if self.cut else rest
        return self.hide(f"{self.name}: {self.understood:,} of {self.lines:,} lines understood{rest}")

    def __repr__(self) -> str:
        left = len(self.pieces) - SHOWN
        more = [f"... {left:,} more (--json has all)"] if left > 0 else []
        return self.hide("\n\n".join([self.summary(), *map(repr, self.pieces[:SHOWN]), *more]))

    def as_data(self) -> dict[str, Any]:
        """The same as plain data."""
        data = {
            "name": self.name,
            "lines": self.lines,
            "understood": self.understood,
            "pieces": [piece.as_data() for piece in self.pieces],
            "units": [unit.as_data() for unit in self.units],
        }
        return {key: _hidden(value, self.hide) for key, value in data.items()}

    def explorer(self, unit: int | str = 0) -> Any:
        """The page-table explorer on a unit whose tables the text shows: by number, or by name. Raises
        ValueError where there is none.
        """
        from vtdkit.views.pagetables.widget import PageTableExplorer

        found = {key: each for number, each in enumerate(self.units) for key in (number, each.name)}
        if unit not in found:
            names = ", ".join(each.name for each in self.units) or "none"
            raise ValueError(f"the text shows no tables of a unit {unit!r}; there are: {names}")
        tables = found[unit]
        return PageTableExplorer(tables.unit(), tables.device, pasid=tables.pasid, iova=tables.iova)

    def cards(self) -> list[Any]:
        """A bit-field card for each entry, register and descriptor that the text is about."""
        from vtdkit.views.bits.widget import BitFieldCard

        return [BitFieldCard(*piece.bits) for piece in self.pieces if piece.bits]

    def figure(self, *, simulated: bool = True) -> Any:
        """The locks of the text as a chart, beside a simulated run of the nearest version. Raises
        ValueError where the text shows no locks.
        """
        from .picture import locks_figure

        return locks_figure(self.locks, self.waits, simulated=simulated)

    def _repr_html_(self) -> str:
        cards = (_card(piece, self.hide) for piece in self.pieces[:SHOWN])
        return str(tag("div", tag("p", self.summary()), *cards))

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        display(HTML(self._repr_html_()))  # type: ignore[no-untyped-call]
        chart = [self.figure()] if self.locks or self.waits else []
        for each in (*self.cards()[:2], *([self.explorer()] if self.units else []), *chart):
            display(each)  # type: ignore[no-untyped-call]


def _card(piece: Piece, hide: Callable[[str], str]) -> Html:
    """One piece as HTML: a heading, and a table of words and texts."""
    times = f" ({piece.count:,} times)" if piece.count > 1 else ""
    where = f" · line {piece.line}" if piece.line else ""
    head = tag("summary", tag("b", piece.kind), f": {hide(piece.title)}{times}{where}")
    cell = "text-align:left;vertical-align:top"
    rows = (
        tag("tr", tag("th", word, style=cell), tag("td", hide(text), style=cell))
        for word, text in piece.rows()
    )
    return tag("details", head, tag("table", *rows), open="open")


def _hidden(value: Any, hide: Callable[[str], str]) -> Any:
    """Plain data with every text in it hidden; keys are ours."""
    match value:
        case dict():
            return {key: _hidden(each, hide) for key, each in value.items()}
        case list() | tuple():
            return [_hidden(each, hide) for each in value]
    return hide(value) if isinstance(value, str) else value


# What a person or a machine can be known by; each pattern is bounded.
_PERSONAL = (
    (re.compile(r"\b(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\b"), "xx:xx:xx:xx:xx:xx"),
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "UUID"),
    (
        re.compile(r"(?i)\b(serial(?:[ _-]?(?:number|no\.?))?|s/n)(\s{0,3}[:=#]?\s{0,3})[\w-]{4,40}"),
        r"\1\2SERIAL",
    ),
    (re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,6}\b"), "ADDRESS"),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b"), "x.x.x.x"),
)


def redactor(hosts: Iterable[str]) -> Callable[[str], str]:
    """A function that replaces serials, MAC and other addresses, and these host names, in what is printed."""
    names = sorted({name for name in hosts if len(name) > 1}, key=len, reverse=True)[:100]
    known = [(re.compile(rf"(?<![\w.]){re.escape(name)}(?![\w])"), "HOST") for name in names]

    def hide(text: str) -> str:
        for pattern, instead in (*known, *_PERSONAL):
            text = pattern.sub(instead, text)
        return text

    return hide
