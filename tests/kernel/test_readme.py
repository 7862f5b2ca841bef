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


@pytest.mark.parametrize("name", ["machine.costs", "machine.machine", "machine.workload"])
def test_the_examples_in_the_modules_run(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"vtdkit.kernel.{name}"))
    assert failed == 0
    assert tried > 0
