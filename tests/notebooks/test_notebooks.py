"""The project's own notebooks keep the rules, and the pages beside them link to what exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.notebooks.nbchecks import broken, links, problems, source, tags

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LESSONS = [path for path in NOTEBOOKS if re.match(r"[012]\d-", path.name)]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "notebooks").glob("*.md"), *(ROOT / "vtdkit").rglob("*.md")])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_keeps_the_rules(path: Path) -> None:
    assert problems(path) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [problem for link in links(text) if (problem := broken(link, path))] == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.name[:2])
def test_each_lesson_has_one_cell_of_knobs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert sum("what-if" in tags(cell) for cell in cells) == 1


@pytest.mark.parametrize("path", [*NOTEBOOKS, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_of_ours_that_is_named_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join(source(cell) for cell in cells if cell["cell_type"] == "markdown")
    named = re.findall(r"`((?:vtdkit|tests|notebooks)/[\w/.-]+\.(?:py|md|js|ipynb|txt))`", text)
    examples = {name for name in named if "15" in name or "NN" in name}  # lessons that do not exist yet
    assert [name for name in named if not (ROOT / name).exists() and name not in examples] == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.name[:2])
def test_each_exercise_can_be_collected_and_graded(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = [source(cell) for cell in cells if cell["cell_type"] == "code"]
    assert texts[1].startswith("lesson.seed(0)")
    assert "lesson.progress()" in texts
    checks = [cell for cell in cells if re.fullmatch(r"lesson\.[A-Z_]+\.check\(\w+\)", source(cell))]
    marks = {cell["metadata"]["nbgrader"]["grade_id"]: cell["metadata"]["nbgrader"] for cell in checks}
    assert len(marks) == len(checks) == 2
    assert all(mark["grade"] and mark["points"] in (1, 2) for mark in marks.values())
    answers = [cell["metadata"].get("nbgrader", {}) for cell in cells]
    assert {each["grade_id"] for each in answers if each.get("solution")} == {
        f"{each}-answer" for each in marks
    }
