"""What a lesson shows in a cell besides widgets: source of ours, differences of it, small
tables, times in words.

Everything has a text for the terminal and for tests, and HTML for the notebook that says the same. Text is
escaped; a line that was added or removed has a sign in front as well as a colour.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vtdkit.series.catalogue import SERIES, name_of
from vtdkit.series.patch import PatchInfo, source_of


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines of source under a heading that says whose they are; with `signs`, lines that begin with +
    or - are marked.
    """

    title: str
    text: str
    signs: bool = False

    def __repr__(self) -> str:
        return f"{self.title}\n\n{self.text}"

    def _repr_html_(self) -> str:
        lines = "\n".join(self._line(line) for line in self.text.splitlines())
        return f'<div><strong>{html.escape(self.title)}</strong><pre style="{_PRE}">{lines}</pre></div>'

    def _line(self, line: str) -> str:
        style = _SIGNS.get(line[:1]) if self.signs else None
        text = html.escape(line)
        return f'<span style="{style}">{text}</span>' if style else text


_PRE = (
    "margin:0;padding:4px 8px;line-height:1.35;overflow-x:auto;"
    "font-family:var(--jp-code-font-family,monospace)"
)
_SIGNS = {
    "+": "background:rgba(0,114,178,.18);border-left:3px solid #0072b2;padding-left:4px",
    "-": "background:rgba(213,94,0,.18);border-left:3px dashed #d55e00;padding-left:4px",
    "@": "opacity:.6",
}


def source(driver: type, *functions: str) -> Listing:
    """Our source of these methods as a driver version has them. Raises AttributeError for one the
    version does not have.
    """
    texts = {name: source_of(driver, name).rstrip() for name in functions}
    for name, text in texts.items():
        if not text:
            raise AttributeError(
                f"{driver.__name__} has no function {name}; look in the notebook for how it is written"
            )
    modules = dict.fromkeys(inspect.getattr_static(driver, name).__module__ for name in functions)
    files = ", ".join(module.replace(".", "/") + ".py" for module in modules)
    return Listing(f"{name_of(driver)}: {files}", "\n\n".join(texts.values()))


def patch_diff(patch: int | PatchInfo, *functions: str, context: int = 30) -> Listing:
    """What a patch changed in our source, these functions of it or all; `patch` is a number of the
    series or its record.
    """
    info = SERIES[patch] if isinstance(patch, int) else patch
    changes = info.changes
    # without the two lines that name files: the listing has a title
    diffs = (changes[name].diff(context).splitlines()[2:] for name in functions or changes)
    shown = ("\n".join(line for line in diff if not line.startswith("@@")) for diff in diffs)
    return Listing(info.title, "\n\n".join(shown), signs=True)


def report(said: object) -> str:
    """A finding or a report as text, its places without numbers of lines: those change with every edit."""
    return re.sub(r"(?<=\.py):\d+", "", str(said))


@dataclass(frozen=True, slots=True)
class Table:
    """A small table; a cell is text or a number, numbers are set to the right."""

    head: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def __repr__(self) -> str:
        cells = [self.head, *(tuple(map(_cell, row)) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        form = [
            f"{{:{'>' if right else '<'}{width}}}" for right, width in zip(self._right(), widths, strict=True)
        ]
        return "\n".join("  ".join(form).format(*row).rstrip() for row in cells)

    def _repr_html_(self) -> str:
        head = self._html_row(self.head, "th")
        body = "".join(self._html_row(map(_cell, row)) for row in self.rows)
        return f'<table style="border-collapse:collapse"><thead>{head}</thead><tbody>{body}</tbody></table>'

    def _html_row(self, texts: Iterable[str], heading: str = "td") -> str:
        cells = ""
        for text, right in zip(texts, self._right(), strict=True):
            tag = heading if text else "td"  # an empty heading is none
            scope = ' scope="col"' if tag == "th" else ""
            style = f"padding:2px 14px 2px 0;text-align:{'right' if right else 'left'}"
            cells += f'<{tag}{scope} style="{style}">{html.escape(text)}</{tag}>'
        return f"<tr>{cells}</tr>"

    def _right(self) -> list[bool]:
        return [
            bool(self.rows) and all(_is_figure(row[column]) for row in self.rows)
            for column in range(len(self.head))
        ]


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


_FIGURE = re.compile(r"-?[\d,]+(\.\d+)?( (ns|µs|ms|s|times))?")


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and _FIGURE.fullmatch(value) is not None)


def table(head: Sequence[str], *rows: Sequence[object]) -> Table:
    """A table. Raises ValueError for a row that is longer or shorter than the head."""
    for row in rows:
        if len(row) != len(head):
            raise ValueError(
                f"the table has {len(head)} columns ({', '.join(head)}), a row has {len(row)}: {row!r}"
            )
    return Table(tuple(head), tuple(map(tuple, rows)))
