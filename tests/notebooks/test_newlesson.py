"""`make lesson`: three files that run as they are, and nothing written over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.notebooks import newlesson


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("notebooks/lessons", "tests/lab"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_three_files_that_know_each_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = newlesson.plan("42", "three-back-ends", root)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    names = [str(path.relative_to(root)) for path in files]
    assert names == [
        "notebooks/42-three-back-ends.ipynb",
        "notebooks/lessons/lesson42.py",
        "tests/lab/test_lesson42.py",
    ]
    notebook = json.loads((root / names[0]).read_text(encoding="utf-8"))
    assert "".join(notebook["cells"][0]["source"]).startswith("# 42 · Three back ends\n")
    assert notebook["metadata"]["title"] == "Three back ends"
    assert "from lessons import lesson42 as lesson" in "".join(notebook["cells"][1]["source"])
    assert "from lessons import lesson42 as lesson" in (root / names[2]).read_text(encoding="utf-8")
    compile((root / names[1]).read_text(encoding="utf-8"), names[1], "exec")


@pytest.mark.parametrize(
    ("number", "name", "complaint"),
    [
        ("", "", "N='' is no lesson's number"),
        ("x", "good", "N='x' is no lesson's number"),
        ("15", "../evil", "small letters, digits and hyphens"),
        ("15", "Bad Name", "small letters, digits and hyphens"),
    ],
)
def test_what_cannot_be_used_is_refused(root: Path, number: str, name: str, complaint: str) -> None:
    with pytest.raises(newlesson.CannotMake, match=complaint):
        newlesson.plan(number, name, root)


def test_a_lesson_that_is_there_is_left_alone(root: Path) -> None:
    (root / "notebooks/07-old.ipynb").touch()
    with pytest.raises(newlesson.CannotMake, match=r"lesson 7 is there already: 07-old\.ipynb"):
        newlesson.plan("7", "new", root)
    (root / "tests/lab/test_lesson08.py").touch()
    with pytest.raises(newlesson.CannotMake, match="is there already"):
        newlesson.plan("8", "new", root)
