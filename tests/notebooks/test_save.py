"""A notebook that is saved is run, tidy, and the same each time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.made import code, notebook
from tests.notebooks.made import save as write
from tests.notebooks.nbchecks import problems
from tests.notebooks.plain import join_streams
from tests.notebooks.save import main, save
from tests.notebooks.tiny import tiny_notebook

ROOT = Path(__file__).resolve().parents[2]


def test_saving_runs_tidies_and_comes_out_the_same_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.ipynb", tiny_notebook())
    save(path)
    first = path.read_bytes()
    save(path)
    assert path.read_bytes() == first
    saved = json.loads(first)
    widget, stub, solution = (saved["cells"][number]["outputs"][0] for number in (3, 6, 7))
    assert widget["data"] == {"text/plain": ["Boxes()"]}
    assert stub["traceback"] == ["NotImplementedError"]
    assert solution["text"] == ["it is 42\n"]
    assert saved["metadata"]["language_info"]["name"] == "python"
    assert set(saved["metadata"]) == {"kernelspec", "language_info"}
    assert [line for line in problems(path) if "median" not in line and "words" not in line] == []


def test_what_is_saved_is_what_nbval_sees_again(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.ipynb", tiny_notebook())
    save(path)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--nbval",
        "--nbval-current-env",
        "--nbval-cell-timeout=60",
    ]
    command += [
        f"--nbval-sanitize-with={ROOT / 'tests/notebooks/sanitize.cfg'}",
        "-q",
        "-c",
        "/dev/null",
        "--rootdir",
        str(tmp_path),
        str(path),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "5 passed" in done.stdout, done.stdout
    path.write_text(path.read_text(encoding="utf-8").replace("it is 42", "it is 41"), encoding="utf-8")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "1 failed, 4 passed" in done.stdout, done.stdout


def test_a_notebook_that_fails_is_left_alone_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "bad.ipynb", notebook(code("1 / 0")))
    before = path.read_bytes()
    assert main([str(path)]) == 1
    assert capsys.readouterr().out.startswith("bad.ipynb: ZeroDivisionError: division by zero, in the cell\n")
    assert path.read_bytes() == before


def test_what_a_cell_printed_is_one_piece() -> None:
    pieces = [{"output_type": "stream", "name": "stdout", "text": text} for text in ("a\n", "b\n")]
    error = {"output_type": "stream", "name": "stderr", "text": "c"}
    made: dict[str, Any] = {
        "cells": [{"cell_type": "code", "outputs": [*pieces, error]}, {"cell_type": "markdown"}]
    }
    join_streams(made)
    assert [output["text"] for output in made["cells"][0]["outputs"]] == ["a\nb\n", "c"]
