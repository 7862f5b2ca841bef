"""The verb `seeds`: a number for each student, so that each has other numbers in the exercises.

The class is a CSV table; the column `student` (or else the first) has the names. A column `seed` is filled
where it is empty, from the name alone, so that a table that was lost can be made again.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from pathlib import Path
from zlib import crc32

from vtdkit.vtd.plain import said

MOST = 9000
SEED = r'"lesson\.seed\(\d+\)'
Class = dict[str, dict[str, str]]


def students(path: Path) -> Class:
    """The rows of a class by name; each has a `seed`, "" if none yet. Raises OSError, ValueError."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not rows.fieldnames:
            raise ValueError(f"{path} is empty; its first line names the columns, one of them `student`")
        column = "student" if "student" in rows.fieldnames else rows.fieldnames[0]
        found: Class = {}
        for row in rows:
            if None in row:
                raise ValueError(f"{path}, line {rows.line_num}: more cells than the first line has names")
            name, seed = (row[column] or "").strip(), row.setdefault("seed", "")
            if not re.fullmatch(r"[\w@+ -][\w.@+ -]{0,79}", name) or name in found:
                raise ValueError(f"{path}, line {rows.line_num}: {name[:80]!r} is no name, or is there twice")
            if not re.fullmatch(r"\d{0,9}", seed or ""):
                raise ValueError(f"{path}, line {rows.line_num}: the seed {seed[:80]!r} is no number")
            found[name] = row
    return found


def fill(path: Path) -> Class:
    """Give a seed to each who has none, none twice, and write the table back."""
    found = students(path)
    taken = {row["seed"] for row in found.values()}
    for name, row in found.items():
        number = crc32(name.encode())
        while not row["seed"]:
            number = number % MOST + 1
            row["seed"] = "" if str(1000 + number) in taken else str(1000 + number)
        taken.add(row["seed"])
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(dict.fromkeys(key for row in found.values() for key in row)))
        table.writeheader()
        table.writerows(found.values())
    return found


def copy(found: Class, notebook: Path, folder: Path) -> None:
    """A student's own copy of a lesson for each, `folder/NAME/notebook`, with the seed in it."""
    text = notebook.read_text(encoding="utf-8", errors="surrogateescape")
    if not re.search(SEED, text):
        raise ValueError(f"{notebook} has no cell `lesson.seed(0)`, so a copy could not hold a number")
    for name, row in found.items():
        target = folder / name / notebook.name
        target.parent.mkdir(parents=True, exist_ok=True)
        mine = re.sub(SEED, f'"lesson.seed({row["seed"]})', text)
        target.write_text(mine, encoding="utf-8", errors="surrogateescape")


def main(arguments: list[str]) -> int:
    """The verb; returns the exit status."""
    parser = argparse.ArgumentParser("vtdkit seeds", description="a number for each student of a class")
    parser.add_argument("table", type=Path, metavar="CLASS.csv")
    parser.add_argument(
        "--copy", nargs="+", type=Path, default=[], metavar="NOTEBOOK", help="a copy for each"
    )
    parser.add_argument("--to", type=Path, default=Path("class"), help="folder for the copies (class)")
    given = parser.parse_args(arguments)
    try:
        found = fill(given.table)
        for notebook in given.copy:
            copy(found, notebook, given.to)
    except (OSError, ValueError, csv.Error) as error:
        print(f"vtdkit seeds: {said(error, given.table)}", file=sys.stderr)
        return 2
    print(f"{given.table}: {len(found)} students with a seed")
    return 0
