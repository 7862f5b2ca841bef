"""Every text that was found in public is explained rightly: see cases.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from vtdkit.explain.reading import explain

HERE = Path(__file__).parent
CASES: list[dict[str, Any]] = tomllib.loads((HERE / "cases.toml").read_text(encoding="utf-8"))["case"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_text_found_in_public_is_explained(case: dict[str, Any]) -> None:
    told = repr(explain(case["text"].removeprefix("\n")))
    missing = [want for want in case["want"] if want not in told]
    assert not missing, told
    wrong = [never for never in case.get("never", ()) if never in told]
    assert not wrong, told


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_text_says_the_same_with_other_ends_of_lines_and_inside_other_text(case: dict[str, Any]) -> None:
    text = case["text"].removeprefix("\n")
    around = "Hello,\nthis is what I have.\n\n" + text.replace("\n", "\r\n") + "\nBest regards\n" * 50
    told = repr(explain(around))
    assert not [want for want in case["want"] if want not in told and "lines" not in want], told


def test_there_are_enough_cases_and_each_names_its_source() -> None:
    assert len(CASES) >= 30
    assert all(case["source"] and case["want"] for case in CASES)
    assert len({case["name"] for case in CASES}) == len(CASES)
