"""The verb `collect`: judge the notebooks of a class, and write one table.

Judged files are known by the sum of their bytes, and the table is written as results come, so that a run that
was stopped goes on where it was. Whatever a file is or does, only its own rows tell of it: names and messages
are made printable, what a notebook slips into its judge's answers costs only that notebook, and what it
started ends with it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from time import monotonic
from typing import Any

from tqdm import tqdm

from vtdkit.lab.lesson.shown import Table, table
from vtdkit.vtd.plain import echo, said

from . import grade
from .seeds import students

RESULTS = ("right", "wrong", "missing", "timed out", "broken")
MOST_TEXT = 200  # of what was said; the first line
AGAIN = 8  # so many exercises of one notebook may end the program that judges it, or take all their time
FORMULA = "[-=+@]"  # with which a cell begins that a spreadsheet computes


@dataclass(frozen=True, slots=True)
class Mark:
    """A row: one exercise of one student. `sum` is that of the file's bytes."""

    student: str
    lesson: str
    exercise: str
    result: str
    message: str
    seed: int
    sum: str


FIELDS = [each.name for each in fields(Mark)]


def collect(
    files: Sequence[Path], out: Path, seeds: Mapping[str, str], *, seconds: int = 60, memory: int = 2048
) -> list[Mark]:
    """Judge these files, each by itself; the rows, also written to `out`. `memory` is in MiB. Raises OSError;
    ValueError if `out` is another table.
    """
    before, marks, jobs = read(out), list[Mark](), []
    top = Path(os.path.commonpath([path.absolute().parent for path in files]))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path in files:
            name = student_of(path, top, seeds)
            seed = seeds.get(name, "")
            try:
                digest = hashlib.sha256(grade.content(path)).hexdigest()[:16]
            except (OSError, ValueError) as error:
                reason = (isinstance(error, OSError) and error.strerror) or str(error)
                marks.append(Mark(name, _lesson(path), "", "broken", reason, 0, ""))
                continue
            known = [m for m in before if (m.student, m.sum) == (name, digest) and seed in ("", str(m.seed))]
            marks += known
            if not known:
                jobs.append(pool.submit(judge, path, name, digest, seed, seconds, memory))
        try:
            for job in tqdm(as_completed(jobs), total=len(jobs), unit="notebook", disable=None):
                marks += job.result()
                write(out, marks)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)  # those that run come to their end
            raise
    marks += absent(marks, seeds)
    marks.sort(key=lambda mark: (mark.lesson, mark.student))
    write(out, marks)
    return marks


def absent(marks: Sequence[Mark], seeds: Mapping[str, str]) -> Iterator[Mark]:
    """A row for each exercise of those of the class who handed in nothing of a lesson."""
    there = {(mark.lesson, mark.student) for mark in marks}
    for lesson, exercise in sorted({(mark.lesson, mark.exercise) for mark in marks if mark.exercise}):
        for name, seed in seeds.items():
            if (lesson, name) not in there:
                yield Mark(name, lesson, exercise, "missing", "nothing was handed in", int(seed or 0), "")


def student_of(path: Path, top: Path, known: Iterable[str]) -> str:
    """Whose notebook: the student whose name is a part of the path; else what tells it from the others below
    `top`, a folder (`top/anna/…/07-x.ipynb`) or the file's own name (`top/anna.ipynb`).
    """
    words = {*path.parts[:-1], *path.stem.split("_"), path.stem}
    folder, *_ = path.absolute().relative_to(top).parts
    other = top.name if re.match(r"\d\d(-|\.)", folder) else folder.removesuffix(".ipynb")
    return next((name for name in known if name in words), echo(other))


def _lesson(path: Path) -> str:
    """Which lesson it is, by the number in its name."""
    number = re.match(r"(.*\D)?(\d\d)[-.]", path.name)
    return f"lesson{number[2]}" if number else ""


def judge(path: Path, name: str, digest: str, seed: str, seconds: int, memory: int) -> list[Mark]:
    """The rows of one file, whatever it does; an exercise that ends what judges it costs no other."""
    words = [str(path.absolute()), seed, str(memory << 20), str(seconds)]
    head, results = dict[str, Any](), dict[str, tuple[str, str]]()
    until = monotonic() + AGAIN * seconds
    try:
        for _ in range(AGAIN):
            said, end = _told([*words, *results], seconds, until)
            head, *told = map(json.loads, said) if said else [{}]
            if "broken" in head:
                end = "broken", head["broken"]
            results |= {each["exercise"]: (each["result"], each["message"]) for each in told}
            left = [each for each in head.get("exercises", [""]) if each not in results]
            results |= dict.fromkeys(left[:1], end)
            if not left[1:] or monotonic() > until:
                break
        rows = [(each, *results.get(each, end)) for each in head.get("exercises", [""])]
        lesson, number = head.get("lesson", _lesson(path)), int(head.get("seed", 0))
        if {result for _, result, _ in rows} <= set(RESULTS) and {type(each) for each, *_ in rows} <= {str}:
            return [
                Mark(name, f"{lesson}", ex, result, _line(text), number, digest) for ex, result, text in rows
            ]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        pass
    return [Mark(name, _lesson(path), "", "broken", "it writes where only its judge may", 0, digest)]


def _line(text: str) -> str:
    """The first line of what was said, for a table: bounded, and nothing in it that does not print."""
    first = next(iter(text.splitlines()), "")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in first[:MOST_TEXT])


def _told(words: Sequence[str], seconds: int, until: float) -> tuple[list[str], tuple[str, str]]:
    """What one run of `grade` says, and what is to be said of the exercise at which it ended. It ends at
    `until` at the latest, and all it started with it.
    """
    began, late = monotonic(), ("timed out", f"not done after {seconds} s")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        tempfile.TemporaryFile() as output,
    ):
        settings = {
            **{key: os.environ[key] for key in ("PATH", "SYSTEMROOT") if key in os.environ},
            "HOME": scratch,
            "MPLCONFIGDIR": scratch,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
        }
        judging = subprocess.Popen(
            [sys.executable, "-m", grade.__name__, *words],
            cwd=scratch,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            status = judging.wait(max(until - began, 0))
            slow = status == 1 and monotonic() - began >= seconds
            end = late if slow else ("broken", f"what judges it ended early (status {status})")
        except subprocess.TimeoutExpired:
            end = late
        finally:
            judging.kill()
            if os.name == "posix":
                with suppress(OSError):  # nothing of it is left
                    os.killpg(judging.pid, signal.SIGKILL)
            judging.wait()
        output.seek(0)
        return output.read(grade.MOST_WRITTEN).decode("utf-8", "replace").splitlines(), end


def write(path: Path, marks: Iterable[Mark]) -> None:
    """The table as CSV. A cell that a spreadsheet would take for a formula gets a blank in front."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, newline="", encoding="utf-8"
    ) as file:
        rows = csv.writer(file)
        rows.writerow(FIELDS)
        rows.writerows(
            [re.sub(f"^(?={FORMULA})", " ", str(each)) for each in astuple(mark)] for mark in marks
        )
    os.replace(file.name, path)  # all of it or nothing


def read(path: Path) -> list[Mark]:
    """The rows of a table that was written before; none if there is none. Raises ValueError for another."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames != FIELDS:
            raise ValueError(f"{path} is another table; name a new one with --out")
        texts = ({key: re.sub(f"^ (?={FORMULA})", "", each) for key, each in row.items()} for row in rows)
        return [Mark(**{**row, "seed": int(row["seed"])}) for row in texts]  # type: ignore[arg-type]


def summary(marks: Sequence[Mark]) -> Table:
    """How each exercise went."""
    counts = Counter((mark.lesson, mark.exercise, mark.result) for mark in marks)
    exercises = sorted({key[:2] for key in counts})
    rows = [(*each, *(counts[*each, result] for result in RESULTS)) for each in exercises]
    return table(["lesson", "exercise", *RESULTS], *rows)


def histogram(marks: Sequence[Mark]) -> str:
    """How many students have how many exercises right."""
    right = Counter(mark.student for mark in marks if mark.result == "right")
    students = Counter(right[name] for name in {mark.student for mark in marks})
    lines = [f"{count:>5}  {'#' * students[count]} {students[count]}" for count in sorted(students)]
    return "\n".join(["right  students", *lines])


def notebooks(given: Path) -> list[Path]:
    """The file that was named, or all notebooks below a folder but editors' copies. Raises OSError."""
    if not given.is_dir():
        given.stat()  # who names a file means one that is there
        return [given]
    return [
        path
        for path in sorted(given.rglob("*.ipynb"))
        if not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(given).parts)
    ]


def main(arguments: list[str]) -> int:
    """The verb; returns the exit status."""
    parser = argparse.ArgumentParser("vtdkit collect", description="judge the notebooks of a class")
    parser.add_argument("files", nargs="+", type=Path, help="notebooks, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("marks.csv"), help="the table (marks.csv)")
    parser.add_argument("--students", type=Path, help="table of students and seeds (vtdkit seeds)")
    parser.add_argument("--seconds", type=int, default=60, help="for one exercise (60)")
    parser.add_argument("--memory", type=int, default=2048, help="MiB for one notebook (2048)")
    given = parser.parse_args(arguments)
    try:
        files = list(dict.fromkeys(path for each in given.files for path in notebooks(each)))
        if not files:
            raise ValueError("there is no notebook in these folders")
        if min(given.seconds, given.memory) < 1:
            raise ValueError("--seconds and --memory must be 1 or more")
        known = students(given.students) if given.students else {}
        seeds = {name: row["seed"] for name, row in known.items()}
        marks = collect(files, given.out, seeds, seconds=given.seconds, memory=given.memory)
    except KeyboardInterrupt:
        print("vtdkit collect: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (OSError, ValueError, csv.Error) as error:
        print(f"vtdkit collect: {said(error, given.students or given.out)}", file=sys.stderr)
        return 2
    print(summary(marks), histogram(marks), f"{given.out}: {len(marks)} rows", sep="\n\n")
    return 0
