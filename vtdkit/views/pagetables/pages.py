"""The pages of a device's page tables as a record: every table that can be reached, entries that follow a
pattern told in one line.

Pages are kept by address, 512 words each, whatever they are used for; so tables that loop or are shared
cost nothing extra. What a browser gets is bounded: first the tables on the way to the address of
interest, then all others level by level, the nearest first, until `most` lines are used up. What was left
out is counted, and a walk that gets there says so.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from vtdkit.vtd.image.survey import Survey, Table
from vtdkit.vtd.memory import WORD, read_page
from vtdkit.vtd.walk.space import Space

from .cells import Shapes

MOST = 20_000
"""Lines of a record: about 30 bytes each."""


def collect(
    survey: Survey, space: Space | None, roots: Sequence[Table], near: int, most: int, shapes: Shapes
) -> dict[str, Any]:
    """`pages` (address → what is in it), `absent` (tables where no memory is), `left_out` (how many
    tables were not read).
    """
    pages: dict[str, Any] = {}
    absent: set[str] = set()
    seen: set[tuple[str, int, int]] = set()
    lines = left_out = 0
    wave = sorted(_turn(table, near) for table in roots)  # a heap
    while wave and space:
        table = heapq.heappop(wave)[-1]
        place, words = f"{table.page:#x}", read_page(survey.unit.memory, table.page >> 12)
        if table[:3] in seen:
            continue
        seen.add(table[:3])
        if words is None:
            absent.add(place)
            continue
        made = pages.get(place) or _page(survey, table, words)
        more = 0 if place in pages else len(made["runs"])
        if more and lines + more > most:
            left_out += 1
            continue
        lines += more
        pages[place] = made
        made["cells"][f"{table.stage} {table.level}"] = shapes.runs(table.stage, table.level, words)
        for below in survey.below(space, table):
            # of each entry that leads to a table: how many 4 KiB pages are mapped below it
            made["under"][str(below.base - table.base >> table.step)] = survey.mapped(space, below)
            heapq.heappush(wave, _turn(below, near))
    return {"pages": pages, "absent": sorted(absent), "left_out": left_out}


def _turn(table: Table, near: int) -> tuple[bool, int, int, int, Table]:
    """What is read first: the way to the address of interest down to its page, then upper levels,
    then what is near.
    """
    off_the_way = not 0 <= near - table.base < 1 << 12 + 9 * table.level
    return off_the_way, -table.level, abs(table.base - near), table.page, table


def _page(survey: Survey, table: Table, words: Sequence[int | None]) -> dict[str, Any]:
    made: dict[str, Any] = {"runs": runs(words), "under": {}, "cells": {}}
    if broken := [index for index, word in enumerate(words) if word is None]:
        made["broken"] = broken
    if table.page >> 12 in getattr(survey.unit.memory, "freed", ()):
        made["freed"] = True
    return made


def runs(words: Sequence[int | None]) -> list[list[Any]]:
    """The words that are not 0: `[index, value]`, or `[index, count, value, step]` for several in even
    steps (modulo 2^64).
    """
    made: list[list[int]] = []  # index, count, first value, step, last value
    for index, value in enumerate(words):
        if not value:
            continue
        last = made[-1] if made and sum(made[-1][:2]) == index else [0] * 5
        step = (value - last[4]) & WORD
        if last[1] == 1 or (last[1] and last[3] == step):
            last[1:] = last[1] + 1, last[2], step, value
        else:
            made.append([index, 1, value, 0, value])
    return [
        [at, f"{first:#x}"] if count == 1 else [at, count, f"{first:#x}", f"{step:#x}"]
        for at, count, first, step, _ in made
    ]
