"""Verdicts as a table, and the verb `claims`: the claims of the thread with the verdicts that running gives
them; or as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict

from vtdkit.lab.lesson.shown import Table, table

from .catalogue import claims, verdicts
from .claim import Verdict

WIDTH = 110


def text(one: Verdict) -> str:
    """A verdict in lines of at most `WIDTH` characters."""
    head, hang = f"{one.number:>3}  ", " " * 5
    lines = textwrap.wrap(f"{one.who}: {one.said}", WIDTH, initial_indent=head, subsequent_indent=hang)
    on = f"({one.on}) " if one.on else ""
    said = [f"{one.word}: {one.evidence} {on}[lesson {one.lesson}]"]
    if one.counter:
        said.append(f"the other way: {one.counter!r}")
    for line in said:
        lines += textwrap.wrap(line, WIDTH, initial_indent=hang, subsequent_indent=hang + "  ")
    return "\n".join(lines)


class Verdicts(tuple[Verdict, ...]):
    """Verdicts, one below the other: a table in a notebook, lines in a terminal."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(map(text, self))

    def _repr_html_(self) -> str:
        run = any(one.on for one in self)
        head = ("no.", "who", "said", *(["the driver"] if run else []), "verdict", "evidence", "lesson")
        rows = (
            (
                str(one.number),
                one.who,
                one.said,
                *([one.on] if run else []),
                one.word,
                one.evidence,
                one.lesson,
            )
            for one in self
        )
        return Table(head, tuple(rows))._repr_html_()


def decided(numbers: Iterable[int], otherwise: bool = True) -> Table:
    """Some claims, run now, as a lesson shows its own; `otherwise`: with the variant in which each comes out
    the other way.
    """
    run = [claim.verdict(otherwise) for claim in claims(numbers)]
    head = ("claim", "in our model it", "evidence", "otherwise")
    rows = [(f"{one.who}: {one.said}", one.word, one.evidence, one.counter) for one in run]
    return table(head, *rows) if otherwise else table(head[:3], *(row[:3] for row in rows))


def in_words(found: Iterable[Verdict]) -> Table:
    """Verdicts in a word each, where a lesson has told the rest."""
    rows = (
        (one.number, one.who, one.said, one.word, one.counter.word if one.counter else "-") for one in found
    )
    return table(["", "who", "said", "in our model it", "otherwise"], *rows)


def main(arguments: Sequence[str]) -> int:
    """The verb. 0: done, 2: the arguments cannot be used."""
    parser = argparse.ArgumentParser(
        "vtdkit claims", description="run the claims of the thread and print their verdicts"
    )
    parser.add_argument("numbers", nargs="*", type=int, help="which claims; all if none")
    parser.add_argument("--json", action="store_true", help="the same for programs")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a CPU)"
    )
    options = parser.parse_args(arguments)
    try:
        wanted = [claim.number for claim in claims(options.numbers)]
        if options.jobs < 1:
            raise KeyError("--jobs must be 1 or more")
    except KeyError as error:
        print(f"vtdkit claims: {error.args[0]}", file=sys.stderr)
        return 2
    with ProcessPoolExecutor(min(options.jobs, os.cpu_count() or 1)) as executor:
        seen = verdicts(wanted, executor)
    if options.json:
        print(json.dumps([asdict(one) for one in seen], indent=1))
        return 0
    words = Counter(one.word for one in seen)
    print(Verdicts(seen))
    print(f"\n{len(seen)} claims: " + ", ".join(f"{times} {word}" for word, times in words.most_common()))
    return 0
