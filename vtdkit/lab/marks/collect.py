"""The verb `collect`: judge the notebooks of a class, and write one table.

Judged files are known by the sum of their bytes, and the table is written as results come, so that a run that
was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import monotonic
from typing import Any

from tqdm import tqdm

from vtdkit.lab.lesson.shown import Table, table
from vtdkit.vtd.plain import said

from . import grade
from .seeds import students

RESULTS = ("right", "wrong", "missing", "timed out", "broken")
MOST_TEXT = 200  # of what was said; the first line
AGAIN = 8  # so many exercises of one notebook may end the program that judges it
MOST_ANSWER = 1 << 20  # bytes that one judging may say


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
            digest, seed = hashlib.sha256(path.read_bytes()).hexdigest()[:16], seeds.get(name, "")
            known = [m for m in before if (m.student, m.sum) == (name, digest) and seed in ("", str(m.seed))]
            marks += known
            if not known:
                jobs.append(pool.submit(judge, path, name, digest, seed, seconds, memory))
        for job in tqdm(as_completed(jobs), total=len(jobs), unit="notebook", disable=None):
            marks += job.result()
            write(out, marks)
    marks.sort(key=lambda mark: (mark.lesson, mark.student))
    write(out, marks)
    return marks


def student_of(path: Path, top: Path, known: Iterable[str]) -> str:
    """Whose notebook: the student whose name is a part of the path; else what tells it from the others below
    `top`, a folder (`top/anna/…/07-x.ipynb`) or the file's own name (`top/anna.ipynb`).
    """
    words = {*path.parts[:-1], *path.stem.split("_"), path.stem}
    folder, *_ = path.absolute().relative_to(top).parts
    other = top.name if re.match(r"\d\d(-|\.)", folder) else folder.removesuffix(".ipynb")
    return next((name for name in known if name in words), other)


def judge(path: Path, name: str, digest: str, seed: str, seconds: int, memory: int) -> list[Mark]:
    """The rows of one file, whatever it does; an exercise that ends what judges it costs no other."""
    words = [str(path.absolute()), seed, str(memory << 20), str(seconds)]
    head, results = dict[str, Any](), dict[str, tuple[str, str]]()
    for _ in range(AGAIN):
        said, end = _told([*words, *results], seconds)
        head, *told = map(json.loads, said) if said else [{}]
        if "broken" in head:
            end = "broken", head["broken"]
        results |= {each["exercise"]: (each["result"], each["message"]) for each in told}
        left = [each for each in head.get("exercises", [""]) if each not in results]
        results |= dict.fromkeys(left[:1], end)
        if not left[1:]:
            break
    number = re.match(r"(.*\D)?(\d\d)[-.]", path.name)
    lesson = head.get("lesson", f"lesson{number[2]}" if number else "")
    marks = []
    for exercise in head.get("exercises", [""]):
        result, message = results.get(exercise, end)
        line = next(iter(message.splitlines()), "")[:MOST_TEXT]
        marks.append(Mark(name, lesson, exercise, result, line, head.get("seed", 0), digest))
    return marks


def _told(words: Sequence[str], seconds: int) -> tuple[list[str], tuple[str, str]]:
    """What one run of `grade` says, and what is to be said of the exercise at which it ended."""
    began, late = monotonic(), ("timed out", f"not done after {seconds} s")
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as output:
        settings = {key: os.environ[key] for key in ("PATH", "SYSTEMROOT") if key in os.environ}
        settings |= {"HOME": scratch, "MPLCONFIGDIR": scratch, "PYTHONDONTWRITEBYTECODE": "1"}
        settings |= {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
        try:
            done = subprocess.run(
                [sys.executable, "-m", grade.__name__, *words],
                cwd=scratch,
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                timeout=AGAIN * seconds,
                check=False,
            )
            slow = done.returncode == 1 and monotonic() - began >= seconds
            end = late if slow else ("broken", f"what judges it ended early (status {done.returncode})")
        except subprocess.TimeoutExpired:
            end = late
        output.seek(0)
        said = output.read(MOST_ANSWER).decode("utf-8", "replace").splitlines()
        return said, end


def write(path: Path, marks: Iterable[Mark]) -> None:
    """The table as CSV. A cell that a spreadsheet would take for a formula gets a blank in front."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, newline="", encoding="utf-8"
    ) as file:
        rows = csv.DictWriter(file, FIELDS)
        rows.writeheader()
        for mark in marks:
            rows.writerow(
                {key: re.sub(r"^(?=[-=+@\t])", " ", str(each)) for key, each in asdict(mark).items()}
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
        return [Mark(**{**row, "seed": int(row["seed"])}) for row in rows]  # type: ignore[arg-type]


def summary(marks: Sequence[Mark]) -> Table:
    """How each exercise went."""
    counts = Counter((mark.lesson, mark.exercise, mark.result) for mark in marks)
    exercises = sorted({(mark.lesson, mark.exercise) for mark in marks})
    rows = [(*each, *(counts[*each, result] for result in RESULTS)) for each in exercises]
    return table(["lesson", "exercise", *RESULTS], *rows)


def histogram(marks: Sequence[Mark]) -> str:
    """How many students have how many exercises right."""
    right = Counter(mark.student for mark in marks if mark.result == "right")
    students = Counter(right[name] for name in {mark.student for mark in marks})
    lines = [f"{count:>5}  {'#' * students[count]} {students[count]}" for count in sorted(students)]
    return "\n".join(["right  students", *lines])


def main(arguments: list[str]) -> int:
    """The verb; returns the exit status."""
    parser = argparse.ArgumentParser("vtdkit collect", description="judge the notebooks of a class")
    parser.add_argument("files", nargs="+", type=Path, help="notebooks, or folders of them")
    parser.add_argument("--out", type=Path, default=Path("marks.csv"), help="the table (marks.csv)")
    parser.add_argument("--students", type=Path, help="table of students and seeds (vtdkit seeds)")
    parser.add_argument("--seconds", type=int, default=60, help="for one exercise (60)")
    parser.add_argument("--memory", type=int, default=2048, help="MiB for one notebook (2048)")
    given = parser.parse_args(arguments)
    folders = [sorted(path.rglob("*.ipynb")) if path.is_dir() else [path] for path in given.files]
    files = [path for each in folders for path in each]
    try:
        if not files:
            raise ValueError("there is no notebook in these folders")
        if min(given.seconds, given.memory) < 1:
            raise ValueError("--seconds and --memory must be 1 or more")
        known = students(given.students) if given.students else {}
        seeds = {name: row["seed"] for name, row in known.items()}
        marks = collect(files, given.out, seeds, seconds=given.seconds, memory=given.memory)
    except (OSError, ValueError, csv.Error) as error:
        print(f"vtdkit collect: {said(error, given.students or given.out)}", file=sys.stderr)
        return 2
    print(summary(marks), histogram(marks), f"{given.out}: {len(marks)} rows", sep="\n\n")
    return 0
