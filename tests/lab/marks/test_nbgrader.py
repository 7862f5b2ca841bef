"""A lesson as nbgrader sees it: its own autograde gives the points. Needs an environment of its own:

python -m venv /tmp/grader && /tmp/grader/bin/pip install nbgrader
VTDKIT_NBGRADER=/tmp/grader/bin python -m pytest tests/lab/marks/test_nbgrader.py
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lessons import lesson03
from tests.lab.marks.test_collect import RIGHT, STUB, answer
from tests.notebooks.made import code, notebook, save

ROOT = Path(__file__).resolve().parents[3]
TOP = "from typing import Any\nfrom lessons import lesson03 as lesson\nfrom vtdkit.iommu.intel import defs"
SCORES = """
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db") as book:
    print({each.student.id: each.score for each in book.assignment_submissions("ps1")})
"""


def marked(text: str, name: str, points: int = 0) -> dict[str, Any]:
    cell = code(text)
    said = {"grade_id": name, "grade": points > 0, "locked": points > 0, "solution": points == 0}
    cell["metadata"]["nbgrader"] = {**said, "task": False, "schema_version": 3}
    if points:
        cell["metadata"]["nbgrader"] |= {"points": points, "cell_type": "code"}
    return cell


def lesson(value: str, function: str) -> dict[str, Any]:
    return notebook(
        code(TOP),
        code("lesson.DOES_IT_WARN.show()"),
        marked(f"answer = {value}", "does-it-warn-answer"),
        marked("lesson.DOES_IT_WARN.check(answer)", "does-it-warn", 1),
        marked(function, "warn-and-stop-answer"),
        marked("lesson.WARN_AND_STOP.check(disable_dmar_iommu)", "warn-and-stop", 2),
    )


def test_under_nbgrader_a_wrong_answer_raises_and_elsewhere_never(monkeypatch: pytest.MonkeyPatch) -> None:
    exercise = lesson03.DOES_IT_WARN.seeded(0)
    assert not exercise.check(...)
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert exercise.check(exercise.answer(0))
    assert exercise.solution()
    with pytest.raises(AssertionError, match="there is no answer yet"):
        exercise.check(...)


def test_its_own_autograde_gives_the_points(tmp_path: Path) -> None:
    programs = os.environ.get("VTDKIT_NBGRADER")
    if not programs:
        pytest.skip("VTDKIT_NBGRADER names no environment with nbgrader")
    for name, content in {
        "source": lesson("...", STUB),
        "submitted/anna": lesson(answer(0), RIGHT),
        "submitted/bob": lesson(answer(0), STUB),
        "submitted/carl": lesson("...", "async def disable_dmar_iommu(self, iommu):\n    return None"),
    }.items():
        (tmp_path / name / "ps1").mkdir(parents=True)
        save(tmp_path / name / "ps1" / "03.ipynb", content)
    (tmp_path / "nbgrader_config.py").write_text("get_config().CourseDirectory.course_id = 'x'\n", "utf-8")
    place = {"PYTHONPATH": f"{ROOT}:{ROOT / 'notebooks'}", "HOME": str(tmp_path)}
    place["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def run(*words: str) -> str:
        done = subprocess.run(
            words, cwd=tmp_path, env=place, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(f"{programs}/nbgrader", "generate_assignment", "ps1", "--create")
    run(f"{programs}/nbgrader", "autograde", "ps1", "--create")
    assert run(f"{programs}/python", "-c", SCORES).strip() == "{'anna': 3.0, 'bob': 1.0, 'carl': 0.0}"
