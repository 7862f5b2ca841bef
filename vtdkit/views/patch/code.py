"""Source for the patch view: lines taken apart into coloured pieces, and two versions of a function
put side by side.

Plain data, no dependency: a handful of kinds are told apart by one expression, which is all that
reading a diff needs.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import zip_longest
from textwrap import dedent

Piece = tuple[str, str]
"""Kind and text. Kinds: k keyword, s string, c comment, d name that is defined here, empty for all else."""

_TOKEN = re.compile(
    r"""(?P<s>(?:\b[bfru]{1,2})?(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))"""
    r"|(?P<c>\#[^\n]*)|(?P<w>[^\W\d]\w*)|(?P<o>.)",
    re.S | re.I,
)


Row = tuple[int, int, bool]
"""One line of a comparison: indices of the lines before and after, -1 where there is none; whether both are
equal.
"""


def coloured(source: str) -> list[list[Piece]]:
    """The lines of a source text as pieces; neighbours of one kind are one piece."""
    lines: list[list[Piece]] = [[]]
    for kind, text in _pieces(source.rstrip("\n")):
        for number, part in enumerate(text.split("\n")):
            if number:
                lines.append([])
            if lines[-1] and lines[-1][-1][0] == kind:
                part = lines[-1].pop()[1] + part
            lines[-1] += [(kind, part)] if part else []
    return lines if source else []


def words(source: str) -> set[int]:
    """The lines of a function that say something and do nothing: docstring and comments, counted from 0."""
    found = {number for number, line in enumerate(source.splitlines()) if line.lstrip().startswith("#")}
    for node in ast.walk(ast.parse(dedent(source))):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            found.update(range(node.body[0].lineno - 1, node.body[0].end_lineno or 0))
    return found


def _pieces(source: str) -> Iterator[Piece]:
    word = ""
    for found in _TOKEN.finditer(source):
        kind, text = found.lastgroup or "o", found.group()
        if kind == "w":
            kind = "d" if word in ("def", "class") else "k" if keyword.iskeyword(text) else "o"
            word = text
        yield ("" if kind == "o" else kind), text


def side_by_side(before: str, after: str) -> list[Row]:
    """Which lines stand beside each other: equal ones, then changed ones in order, then what is
    on one side alone.
    """
    compared = SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
    return [
        (left, right, kind == "equal")
        for kind, a, b, c, d in compared.get_opcodes()
        for left, right in zip_longest(range(a, b), range(c, d), fillvalue=-1)
    ]
