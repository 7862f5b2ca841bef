"""Lines of any mixture, handed to who knows them.

    explain(text)                      # str, bytes, or a Path
    explain_chunks("dmesg", pieces)    # any size, in bounded memory

A line is looked at when the word of a format is in it, or when a line before it opened a block whose rows
have no word of their own. What no format wants is counted and forgotten. The time is linear in the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from vtdkit.kernel.record.lockstat_report import LockStatTable

from . import boot, dumps, faults, files, firmware, locks, registers, splats
from .formats import Format, Group, Text, fields, said
from .lines import bare, chunks, echo, host, plain
from .messages import SECOND
from .report import Explanation, Piece, redactor

#: the order in which they are told: what a unit can do before its tables
FORMATS: tuple[Format, ...] = (
    *registers.FORMATS, *faults.FORMATS, *dumps.FORMATS, *files.FORMATS, *firmware.FORMATS, *locks.FORMATS,
    *boot.FORMATS, *splats.FORMATS,  # the last of each looks at every line that nobody else has taken
)  # fmt: skip
AHEAD = 3  #: lines that a wrapped message may go on in
PATIENCE = 40  #: lines that are not rows before a block is over
MOST_GROUPS, MOST_BLOCKS, MOST_ROWS, KEPT = 20_000, 1000, 100_000, 8
_BEGIN = tuple((form.literal, order, form) for order, form in enumerate(FORMATS))
_LOOSE = tuple((order, form) for _, order, form in _BEGIN if form.loose)
_HOSTS = 1000  #: lines whose host is noted, for redaction
_HEADS = "|".join(dict.fromkeys(form.gate or re.escape(form.literal) for form in FORMATS))
# A word of it stands in each line that begins something, or is a row that needs no head
_GATE = re.compile("|".join([_HEADS, *(form.loose for form in FORMATS if form.loose)]))
_GATE_WHEN_FULL = re.compile(_HEADS)


class Reading:
    """One text being read. `feed` takes lists of lines; `explanation` tells what came of it."""

    def __init__(self) -> None:
        self.groups: dict[tuple[object, ...], Group] = {}
        self.block: Group | None = None
        self.fault: dict[str, str] | None = None
        self.hosts: set[str] = set()
        self.lines = self.understood = self._idle = self._rows = self._blocks = 0
        self._waiting = ""
        self._touched: set[int] = set()  # lines ahead that a message goes on in

    @property
    def full(self) -> bool:
        """Whether no more rows are kept."""
        return self._rows >= MOST_ROWS or self._blocks >= MOST_BLOCKS

    def feed(self, text: str, *, last: bool = False) -> None:
        """More lines; until the `last`, a few are kept back until it is known what follows them."""
        lines = (self._waiting + text).split("\n")[:-1]
        count = len(lines) if last else max(len(lines) - AHEAD, 0)
        self._waiting = "\n".join([*lines[count:], ""])
        gate = _GATE_WHEN_FULL if self.full else _GATE
        for place, line in enumerate(lines[:count]):
            self.lines += 1
            begins = gate.search(line)
            if begins or self._touched or self.block is not None:
                known = [self.lines in self._touched]
                self._touched.discard(self.lines)
                if begins:
                    known.append(self._look(lines, place))
                if self.block is not None:
                    known.append(self._row(self.block, lines, place))
                self.understood += any(known)

    def _look(self, lines: Sequence[str], place: int) -> bool:
        """Every format that begins in this line, in the order in which they stand in it."""
        line = plain(lines[place])
        flat, window, ends = " ".join(line.split()), "", [0]
        found: list[tuple[int, int, re.Match[str]]] = []
        for literal, order, form in _BEGIN:
            if literal not in line or (found and not literal):
                continue
            matches = list(form.head.finditer(flat)) if form.whole in line else []
            if not matches and form.whole:
                if not window:
                    window, ends = _joined(flat, lines[place + 1 : place + 1 + AHEAD])
                matches = [match for match in form.head.finditer(window) if match.start() < len(flat)]
            found += [(match.start(), order, match) for match in matches]
        for order, form in _LOOSE:
            if form.row and (not self.block or self.block.format is not form) and re.search(form.loose, line):
                found += [
                    (match.start(), order, match) for match in form.row.finditer(" ".join(bare(line).split()))
                ]
        for _, order, match in sorted(found, key=lambda each: each[:2]):
            self._add(FORMATS[order], match)
            further = sum(match.end() > end for end in ends[1:]) if match.string is window else 0
            self._touched.update(range(self.lines + 1, self.lines + 1 + further))
        if found and self.understood < _HOSTS:
            self.hosts.add(host(lines[place]))
        return bool(found)

    def _add(self, form: Format, match: re.Match[str]) -> None:
        """A line that begins something, or says once more what was said before."""
        words = said(match)
        if not form.literal:
            words["before"] = match.string[max(match.start() - 30, 0) : match.start()]
        opened = self.block
        if opened and opened.format is form and self.lines - opened.line < 3 and words.get("head") in SECOND:
            opened.rows.append((self.lines, words))
            return
        key = (form.kind, self.lines if form.row else None, *(words.get(name) for name in form.same))
        group = self.groups.get(key)
        if group is not None:
            group.count += 1
            group.rows += [(self.lines, words)] if len(group.rows) < KEPT else []
        elif len(self.groups) < MOST_GROUPS and not (form.row and self.full):
            self._blocks += form.row is not None and form.kind != splats.KIND  # warnings of others are many
            group = self.groups[key] = Group(form, self.lines, [(self.lines, words)], fault=self.fault)
        if form.row is not None:
            self.block, self._idle = group, 0
        self.fault = words if form.kind == faults.KIND else self.fault

    def _row(self, block: Group, lines: Sequence[str], place: int) -> bool:
        """Whether a line is a row, or several, of the block that is open."""
        if block.rows[-1][0] == self.lines == block.line:
            return False  # the head of the block itself
        flat = " ".join(bare(lines[place]).split())
        rows = fields(block.format.row, flat)
        if not rows and block.format.whole:
            window, _ = _joined(flat, lines[place + 1 : place + 1 + AHEAD])
            later = fields(block.format.row, window[len(flat) :])
            rows = [row for row in fields(block.format.row, window) if row not in later]
        block.rows += [(self.lines, row) for row in rows]
        block.count += len(rows)
        self._rows += len(rows)
        self._idle = 0 if rows else self._idle + 1
        if self._idle > PATIENCE or self.full or any("over" in row for row in rows):
            self.block = None
        return bool(rows)

    def explanation(self, name: str, *, redact: bool = False) -> Explanation:
        """What is told, in the order of the text."""
        self.feed("", last=True)
        text = Text()
        groups = [group for form in FORMATS for group in self.groups.values() if group.format is form]
        pieces = sorted(chain.from_iterable(_told(g, text) for g in groups), key=lambda piece: piece.line)
        return Explanation(
            name,
            self.lines,
            self.understood,
            tuple(pieces),
            tuple(unit for unit in text.tables.values() if unit.words),
            LockStatTable(text.locks),
            tuple(text.waits),
            cut=self.full or len(self.groups) >= MOST_GROUPS,
            hide=redactor(self.hosts) if redact else str,
        )


def _told(group: Group, text: Text) -> Iterator[Piece]:
    """What its format tells of a group; where no machine has such numbers, that."""
    try:
        yield from group.format.tell(group, text)
    except ValueError as error:
        yield group.piece("no machine has such numbers", notes=(echo(str(error)),))


def _joined(flat: str, more: Sequence[str]) -> tuple[str, list[int]]:
    """A line and those it may go on in as one; where each of them begins."""
    ends = [0]
    for line in more:
        ends.append(len(flat))
        # quoted-printable mails end a line that goes on with "="
        rest = " ".join(bare(line).split())
        flat = flat[:-1] + rest if flat.endswith("=") else f"{flat} {rest}"
    return flat, ends


def explain_chunks(name: str, data: Iterable[bytes], *, redact: bool = False) -> Explanation:
    """Explain text, or a DMAR table, that comes in pieces of bytes."""
    reading, pieces, name = Reading(), iter(data), echo(name)
    first = next(pieces, b"")
    if firmware.is_binary(first):
        binary = first[: firmware.MOST_BYTES]  # a table is far smaller than a piece
        return Explanation(name, 0, 0, tuple(firmware.table_pieces(0, binary)))
    for part in chunks(chain([first], pieces)):
        reading.feed(part)
    return reading.explanation(name, redact=redact)


def explain(text: str | bytes | Path, *, name: str = "", redact: bool = False) -> Explanation:
    """Explain a text, the bytes of a file, or a file."""
    if isinstance(text, Path):
        name, text = name or text.name, text.read_bytes()
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    pieces: Iterator[bytes] = (data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20))
    return explain_chunks(name or "text", pieces, redact=redact)
