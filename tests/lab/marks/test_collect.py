"""Forty notebooks, six of them broken or worse: one row for each student and exercise, and nobody spoils
another's.
"""

from __future__ import annotations

import csv
import inspect
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from lessons import lesson03
from tests.notebooks.made import code, notebook, prose, save
from vtdkit.cli import main
from vtdkit.lab.marks.collect import Mark, collect, histogram, judge, read, student_of, summary, write

TOP = """\
from typing import Any
from lessons import lesson03 as lesson
from vtdkit.iommu.intel import defs
from no_such_module import anything
%matplotlib inline"""
RIGHT = inspect.getsource(lesson03.disable_dmar_iommu)
LOCKED = "async def disable_dmar_iommu(self, iommu):\n    async with iommu.lock.irqsave():\n        pass"
STUB = "async def disable_dmar_iommu(self, iommu):\n    raise NotImplementedError"


def handed_in(folder: Path, name: str, value: str = "...", function: str = STUB, seed: int = 0) -> Path:
    """A student's notebook: an answer to each of the two exercises."""
    cells = [
        prose("# Three"),
        code(TOP),
        code(f"lesson.seed({seed})"),
        code("lesson.DOES_IT_WARN.show()"),
        code(f"answer = {value}"),
        code("lesson.DOES_IT_WARN.check(answer)"),
        code("# Solution\nlesson.DOES_IT_WARN.solution()\nraise SystemExit", tags=("solution",)),
        code("lesson.WARN_AND_STOP.show()"),
        code(function),
        code("lesson.WARN_AND_STOP.check(disable_dmar_iommu)"),
    ]
    (folder / name).mkdir(parents=True)
    return save(folder / name / "03-a-unit-is-taken-out.ipynb", notebook(*cells))


def answer(seed: int) -> str:
    return repr(lesson03.DOES_IT_WARN.answer(seed))


def rows(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {(row["student"], row["exercise"]): row for row in csv.DictReader(file)}


def test_forty_notebooks_six_of_them_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, outside = tmp_path / "class", tmp_path / "outside.txt"
    for number in range(15):
        handed_in(folder, f"right{number}", answer(number), RIGHT, seed=number)
    for number in range(10):
        handed_in(folder, f"half{number}", answer(0), LOCKED)
    for number in range(9):
        handed_in(folder, f"nothing{number}")
    for name, text in (("torn", '{"cells": ['), ("other", '{"cells": [1, 2]}')):
        (folder / name).mkdir()
        (folder / name / "03-x.ipynb").write_text(text, encoding="utf-8")
    handed_in(folder, "loops", "sum(1 for _ in iter(int, 1))", RIGHT)
    handed_in(folder, "eats", "[bytes(1 << 20) for _ in iter(int, 1)]", RIGHT)
    handed_in(folder, "leaves", answer(0), "import os\nos._exit(3)")
    written = f"open({str(outside)!r}, 'w')"
    handed_in(folder, "reaches", written, "import socket\nsocket.create_connection(('127.0.0.1', 9))")

    out = tmp_path / "marks.csv"
    assert main(["collect", str(folder), "--out", str(out), "--seconds", "300"]) == 0
    found = rows(out)
    assert len({student for student, _ in found}) == 40
    results = Counter(
        (student.rstrip("0123456789"), ex, row["result"]) for (student, ex), row in found.items()
    )
    assert results == {
        ("right", "DOES_IT_WARN", "right"): 15,
        ("right", "WARN_AND_STOP", "right"): 15,
        ("half", "DOES_IT_WARN", "right"): 10,
        ("half", "WARN_AND_STOP", "wrong"): 10,
        ("nothing", "DOES_IT_WARN", "missing"): 9,
        ("nothing", "WARN_AND_STOP", "missing"): 9,
        ("torn", "", "broken"): 1,
        ("other", "", "broken"): 1,
        ("loops", "DOES_IT_WARN", "timed out"): 1,
        ("loops", "WARN_AND_STOP", "right"): 1,
        ("eats", "DOES_IT_WARN", "wrong"): 1,
        ("eats", "WARN_AND_STOP", "right"): 1,
        ("leaves", "DOES_IT_WARN", "right"): 1,
        ("leaves", "WARN_AND_STOP", "broken"): 1,
        ("reaches", "DOES_IT_WARN", "wrong"): 1,
        ("reaches", "WARN_AND_STOP", "wrong"): 1,
    }
    assert found["half0", "WARN_AND_STOP"]["message"].endswith("it takes &iommu->lock")
    assert found["right7", "DOES_IT_WARN"]["seed"] == "7"
    assert "may not do this (open)" in found["reaches", "DOES_IT_WARN"]["message"]
    assert "may not do this (socket." in found["reaches", "WARN_AND_STOP"]["message"]
    assert "MemoryError" in found["eats", "DOES_IT_WARN"]["message"]
    assert not outside.exists()
    said = capsys.readouterr().out
    assert "lesson    exercise       right  wrong  missing  timed out  broken" in said
    assert "lesson03  WARN_AND_STOP     17     11        9          0       1" in said
    assert f"{out}: 78 rows" in said


TELLS = "import os\nfor fd in range(3, 30):\n    try: os.write(fd, {!r})\n    except OSError: pass\n"
DENIED = "may not do this"
HOSTILE = {  # what stands before the second answer: its result and what is said, once {place} is filled in
    "kills": ("import os\nos.kill(os.getppid(), 9)", "wrong", DENIED),
    "forks": ("import os\nwhile True: os.fork()", "wrong", DENIED),
    "spawns": (
        "import multiprocessing as m\nm.get_context('spawn').Process(target=print).start()",
        "wrong",
        "raises TypeError",
    ),
    "unlinks": ("import pathlib\npathlib.Path({place!r}).unlink()", "wrong", DENIED),
    "by number": (
        "import os\nos.unlink('kept', dir_fd=os.open(os.path.dirname({place!r}), 0))",
        "wrong",
        DENIED,
    ),
    "renames": ("import os\nopen('x', 'w').close()\nos.rename('x', {place!r})", "wrong", DENIED),
    "empties": ("import os\nos.open({place!r}, os.O_TRUNC)", "wrong", DENIED),
    "waits": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1e6,)).start()",
        "right",
        "",
    ),
    "odd": (
        r"raise ValueError('=1+1 \udcff\0' + 'x' * 10**7)",
        "wrong",
        r"raises ValueError: =1+1 \udcff\x00xx",
    ),
    "hoards": ("hoard = []\nwhile True: hoard.append(bytes(1 << 20))", "wrong", "raises MemoryError"),
}


def test_hostile_notebooks_harm_nobody_else(tmp_path: Path) -> None:
    place = tmp_path / "kept"
    place.write_text("precious", encoding="utf-8")
    for name, (body, *_) in HOSTILE.items():
        handed_in(tmp_path / "class", name, answer(0), f"{body.format(place=str(place))}\n{RIGHT}")
    for name, text in (("junk", b"\xff{junk\n"), ("null", b"[1]\n\n"), ("forged", b'{"exercise": 1}\n')):
        handed_in(tmp_path / "class", name, answer(0), TELLS.format(text) + RIGHT)
    for name in ("=1+1", "new\nline", os.fsdecode(b"M\xfcller")):
        handed_in(tmp_path / "class", name, answer(0), RIGHT)
    out = tmp_path / "marks.csv"
    assert main(["collect", str(tmp_path / "class"), "--out", str(out), "--seconds", "60"]) == 0
    found = rows(out)
    assert place.read_text(encoding="utf-8") == "precious"
    for name, (_, result, text) in HOSTILE.items():
        assert found[name, "DOES_IT_WARN"]["result"] == "right", name
        row = found[name, "WARN_AND_STOP"]
        assert (row["result"], text in row["message"]) == (result, True), row
    assert [found[each, ""]["result"] for each in ("junk", "null", "forged")] == ["broken"] * 3
    for name in (" =1+1", r"new\x0aline", r"M\xdcfcller"):
        assert found[name, "WARN_AND_STOP"]["result"] == "right"
    assert found["kills", "WARN_AND_STOP"]["message"].startswith(
        "line 2 of a cell, `os.kill(os.getppid(), 9)`"
    )
    assert len(found) == 2 * (len(HOSTILE) + 3) + 3
    assert [mark for mark in read(out) if mark.student == "=1+1"], "and a second run knows whose it was"


def test_what_is_no_file_is_a_row_and_editors_copies_are_not_judged(tmp_path: Path) -> None:
    folder = tmp_path / "class"
    path = handed_in(folder, "anna", answer(0), RIGHT)
    for name in ("anna/.ipynb_checkpoints", "__MACOSX", "folder/03-x.ipynb", "gone", "large", "pipe"):
        (folder / name).mkdir(parents=True)
    for copied in (folder / "anna/.ipynb_checkpoints" / path.name, folder / "__MACOSX" / path.name):
        copied.write_bytes(path.read_bytes())
    (folder / "gone/03-x.ipynb").symlink_to("/nowhere")
    (folder / "large/03-x.ipynb").write_bytes(b"[" * (21 << 20))
    os.mkfifo(folder / "pipe/03-x.ipynb")
    out = tmp_path / "marks.csv"
    assert main(["collect", str(folder), str(path), "--out", str(out)]) == 0
    found = rows(out)
    assert {key: row["message"] for key, row in found.items() if row["result"] == "broken"} == {
        ("folder", ""): "not a file",
        ("gone", ""): "No such file or directory",
        ("large", ""): "larger than 20 MiB (all outputs cleared, it is small)",
        ("pipe", ""): "not a file",
    }
    assert [key for key, row in found.items() if row["result"] == "right"] == [
        ("anna", "DOES_IT_WARN"),
        ("anna", "WARN_AND_STOP"),
    ]


def test_who_handed_in_nothing_has_a_row_for_each_exercise(tmp_path: Path) -> None:
    table = tmp_path / "class.csv"
    table.write_text("student,seed\nanna,\nzoe,7\n", encoding="utf-8")
    path = handed_in(tmp_path / "class", "anna", answer(0), RIGHT)
    out = tmp_path / "marks.csv"
    assert main(["collect", str(path), "--students", str(table), "--out", str(out)]) == 0
    found = rows(out)
    assert [
        (row["result"], row["message"], row["seed"]) for (name, _), row in found.items() if name == "zoe"
    ] == [("missing", "nothing was handed in", "7")] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_where_a_limit_cannot_be_set_notebooks_are_judged_all_the_same(tmp_path: Path) -> None:
    path = handed_in(tmp_path, "anna", answer(0), RIGHT)
    collecting = [sys.executable, "-m", "vtdkit", "collect", str(path), "--out", str(tmp_path / "marks.csv")]
    lower = "ulimit -f 400 && exec " + shlex.join(collecting)
    done = subprocess.run(
        ["sh", "-c", lower],
        env={"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {row["result"] for row in rows(tmp_path / "marks.csv").values()} == {"right"}


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_stopped_by_hand_it_begins_no_other_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vtdkit.lab.marks import collect as module

    judged: list[str] = []

    def fake(path: Path, name: str, digest: str, seed: str, seconds: int, memory: int) -> list[Mark]:
        judged.append(name)
        if len(judged) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        return [Mark(name, "lesson03", "A", "right", "", 0, digest)]

    monkeypatch.setattr(module, "judge", fake)
    for number in range(30):
        handed_in(tmp_path / "class", f"s{number}")
    out = tmp_path / "marks.csv"
    assert main(["collect", str(tmp_path / "class"), "--out", str(out)]) == 130
    assert len(judged) < 30
    assert capsys.readouterr().err == "vtdkit collect: stopped; the same command goes on from here\n"


def test_what_was_judged_is_kept_and_what_changed_is_judged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vtdkit.lab.marks import collect as module

    judged: list[str] = []

    def fake(path: Path, name: str, digest: str, seed: str, seconds: int, memory: int) -> list[Mark]:
        judged.append(name)
        return [Mark(name, "lesson03", "A", "right", "", int(seed or 0), digest)]

    monkeypatch.setattr(module, "judge", fake)
    files = [handed_in(tmp_path, name) for name in ("anna", "bob")]
    out = tmp_path / "marks.csv"
    collect(files, out, {})
    assert sorted(judged) == ["anna", "bob"]
    files[1].write_text("changed", encoding="utf-8")
    again = collect(files, out, {"anna": "0"})
    assert sorted(judged) == ["anna", "bob", "bob"]
    assert sorted(mark.student for mark in again) == ["anna", "bob"]
    collect(files, out, {"anna": "5"})
    assert judged[3:] == ["anna"], "with another seed it is another exercise"
    assert [(mark.student, mark.seed) for mark in read(out)] == [("anna", 5), ("bob", 0)]


def test_a_call_that_never_comes_back_costs_no_other_exercise(tmp_path: Path) -> None:
    path = handed_in(tmp_path, "anna", "sum(range(10**15))", RIGHT)
    found = judge(path, "anna", "", "", 15, 2048)
    assert [(each.exercise, each.result, each.message) for each in found] == [
        ("DOES_IT_WARN", "timed out", "not done after 15 s"),
        ("WARN_AND_STOP", "right", ""),
    ]


def test_a_file_that_cannot_be_read_still_has_its_lesson_from_its_name(tmp_path: Path) -> None:
    for name, lesson in (("03-x.ipynb", "lesson03"), ("anna_03-x.ipynb", "lesson03"), ("x.ipynb", "")):
        (tmp_path / name).write_text("{", encoding="utf-8")
        (only,) = judge(tmp_path / name, "anna", "", "", 60, 2048)
        assert (only.lesson, only.result) == (lesson, "broken")


def test_a_seed_from_the_class_counts_more_than_the_one_in_the_notebook(tmp_path: Path) -> None:
    path = handed_in(tmp_path, "anna", answer(3), seed=7)
    first, _ = collect([path], tmp_path / "marks.csv", {"anna": "3"})
    assert (first.exercise, first.result, first.seed) == ("DOES_IT_WARN", "right", 3)


def test_an_answer_may_need_what_the_lesson_did_before(tmp_path: Path) -> None:
    cells = [code(TOP), code("told = [1, 2]"), code("lesson.DOES_IT_WARN.show()"), code("mine = len(told)")]
    path = save(tmp_path / "anna.ipynb", notebook(*cells, code("lesson.DOES_IT_WARN.seeded(9).check(mine)")))
    first, second = collect([path], tmp_path / "marks.csv", {})
    assert (first.student, first.result) == ("anna", "wrong")
    assert "NameError" not in first.message
    assert (second.result, second.message) == ("missing", "no cell checks it")


@pytest.mark.parametrize(
    ("place", "top", "name"),
    [
        ("class/anna/07-x.ipynb", "class", "anna"),
        ("class/07-x_anna.ipynb", "class", "anna"),
        ("class/anna.ipynb", "class", "anna"),
        ("class/anna maria/07-x.ipynb", "class", "anna maria"),
        ("class/zoe/07-x.ipynb", "class", "zoe"),
        ("class/zoe/07-x.ipynb", "class/zoe", "zoe"),
        ("submitted/zoe/ps1/07.ipynb", "submitted", "zoe"),
        ("class/zoe.ipynb", "class", "zoe"),
    ],
)
def test_whose_notebook_it_is(place: str, top: str, name: str) -> None:
    assert student_of(Path(place), Path(top).absolute(), ["anna", "anna maria"]) == name


def test_the_table_is_no_program_and_another_table_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "marks.csv"
    write(out, [Mark("=cmd()", "lesson03", "A", "wrong", "@x", 0, "0")])
    assert "=cmd()" in out.read_text(encoding="utf-8")
    assert '"=' not in out.read_text(encoding="utf-8")
    assert "\n=" not in out.read_text(encoding="utf-8")
    out.write_text("name,mark\nanna,1\n", encoding="utf-8")
    path = handed_in(tmp_path, "anna")
    assert main(["collect", str(path), "--out", str(out)]) == 2
    assert "is another table" in capsys.readouterr().err
    assert main(["collect", str(tmp_path / "gone.ipynb"), "--out", str(tmp_path / "new.csv")]) == 2
    assert "gone.ipynb" in capsys.readouterr().err


def test_summary_and_histogram() -> None:
    results = {"a": "right", "b": "right", "c": "wrong"}
    marks = [Mark(name, "lesson03", "A", result, "", 0, "0") for name, result in results.items()]
    assert repr(summary(marks)).splitlines()[1].split() == ["lesson03", "A", "2", "1", "0", "0", "0"]
    assert histogram(marks) == "right  students\n    0  # 1\n    1  ## 2"


def test_seeds_are_made_once_kept_and_put_into_copies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "class.csv"
    table.write_text("student,group\nanna,1\nbob,2\n", encoding="utf-8")
    path = handed_in(tmp_path, "master")
    arguments = ["seeds", str(table), "--copy", str(path), "--to", str(tmp_path / "class")]
    assert main(arguments) == 0
    first = table.read_text(encoding="utf-8")
    assert main(arguments) == 0
    assert table.read_text(encoding="utf-8") == first
    seeds = [row["seed"] for row in csv.DictReader(first.splitlines())]
    assert len(set(seeds)) == 2
    copy = (tmp_path / "class" / "anna" / path.name).read_text(encoding="utf-8")
    assert f'"lesson.seed({seeds[0]})"' in copy
    capsys.readouterr()
    for text, why in (
        ("student\nanna\nanna\n", "line 3: 'anna' is no name, or is there twice"),
        ("student\n../x\n", "line 2: '../x' is no name"),
        ("student,seed\nanna,x\n", "the seed 'x' is no number"),
        ("", "is empty; its first line names the columns"),
        ("student\nanna,1,2\n", "line 2: more cells than the first line has names"),
        ("student\n" + "a" * 200_000, "field larger than field limit"),
    ):
        table.write_text(text, encoding="utf-8")
        assert main(["seeds", str(table)]) == 2
        assert why in capsys.readouterr().err
        assert table.read_text(encoding="utf-8") == text
    table.write_bytes(b"student\nM\xfcller\n")
    assert main(["seeds", str(table)]) == 2
    assert "is not text in UTF-8 (byte 9)" in capsys.readouterr().err
    table.write_text("student\nanna\n", encoding="utf-8")
    assert main(["seeds", str(table), "--copy", str(table)]) == 2
    assert "has no cell `lesson.seed(0)`" in capsys.readouterr().err
    assert main(["seeds", str(tmp_path / "gone.csv")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("vtdkit seeds: ")
    assert told.endswith("gone.csv: No such file or directory\n")


def test_a_cell_that_is_not_python_is_said_and_where(tmp_path: Path) -> None:
    path = handed_in(tmp_path, "dora", "('nested', 17")
    marks = {mark.exercise: mark for mark in judge(path, "dora", "", "", 60, 2048)}
    assert marks["DOES_IT_WARN"].result == "wrong"
    assert (
        marks["DOES_IT_WARN"].message
        == "line 1 of the cell with the answer is not Python: '(' was never closed"
    )
    assert marks["WARN_AND_STOP"].result == "missing"


@pytest.mark.parametrize("more", [[], ["--seconds", "0"], ["--memory", "0"]])
def test_nothing_to_judge_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert main(["collect", str(tmp_path), "--out", str(tmp_path / "marks.csv"), *more]) == 2
    assert capsys.readouterr().err == "vtdkit collect: there is no notebook in these folders\n"
    path = handed_in(tmp_path, "anna")
    if more:
        assert main(["collect", str(path), "--out", str(tmp_path / "marks.csv"), *more]) == 2
        assert "must be 1 or more" in capsys.readouterr().err
