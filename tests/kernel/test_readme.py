"""The room's page: its example runs, its map is complete, and so do the examples in the modules."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import vtdkit.kernel

ROOM = Path(vtdkit.kernel.__file__).parent
PAGE = ROOM / "README.md"


def test_the_example_does_what_the_page_says() -> None:
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert failed == 0
    assert tried > 4


def test_the_map_names_every_module_and_no_other() -> None:
    text = PAGE.read_text(encoding="utf-8")
    there = {path.name for path in ROOM.glob("*.py")} - {"__init__.py"}
    rows = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    missing = {name for name in there if f"`{name}`" not in rows}
    assert not missing
    named = {word for word in rows.split("`") if word.endswith(".py") and "/" not in word}
    assert named <= there
    assert {"lockdep/", "explorer/"} <= set(rows.split("`"))


@pytest.mark.parametrize("name", ["costs", "machine", "workload"])
def test_the_examples_in_the_modules_run(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"vtdkit.kernel.{name}"))
    assert failed == 0
    assert tried > 0


def test_no_module_is_longer_than_four_hundred_lines() -> None:
    long = {path.name: count for path in ROOM.glob("*.py") if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400}
    assert not long
