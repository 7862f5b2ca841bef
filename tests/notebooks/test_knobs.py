"""Knobs in JupyterLab: labelled, moved by keys that stay with them, and what they show follows in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebooks.labdriver import ROOT, LabPage, unnamed
from tests.notebooks.made import code, notebook, prose, save

Open = Callable[..., LabPage]
pytestmark = pytest.mark.browser
LESSON = notebook(
    prose("text\n\n" * 30),
    code(
        f"import sys; sys.path.insert(0, {str(ROOT / 'notebooks')!r})\n"
        "from lessons.whatif import what_if\n"
        "def show(cpus=2, lazy=False):\n"
        "    return f'{cpus} CPUs, {lazy}'\n"
        "what_if(show, cpus=[1, 2, 4], lazy=[False, True])",
        tags=("what-if",),
    ),
    *(prose("text\n\n" * 30) for _ in range(4)),
)


def test_a_knob_keeps_its_keys_and_the_picture_follows(tmp_path: Path, open_lab: Open) -> None:
    save(tmp_path / "knobs.ipynb", LESSON)
    page = open_lab(tmp_path, "knobs.ipynb")
    page.run_all()
    shown, cells = page.panel.locator(".jp-OutputArea-output pre"), len(page.cells())
    cpus = page.panel.get_by_label("cpus")
    assert unnamed(page.accessibility()) == []
    shown.get_by_text("2 CPUs, False").wait_for()
    cpus.focus()
    page.page.keyboard.press("ArrowDown")
    shown.get_by_text("4 CPUs, False").wait_for()
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("ArrowDown")
    shown.get_by_text("4 CPUs, True").wait_for()
    for key in ("d", "d", "a"):
        page.page.keyboard.press(key)
    page.wait_idle()
    assert len(page.cells()) == cells
    assert page.panel.locator(".jp-OutputArea-output select:focus").count() == 1
    page.page.keyboard.press("Escape")
    assert page.panel.locator(".jp-OutputArea-output select:focus").count() == 0
    page.page.keyboard.press("a")  # JupyterLab's own: a cell above
    page.page.wait_for_function(
        "count => document.querySelectorAll('.jp-Notebook .jp-Cell').length > count", arg=cells
    )
    assert page.page_errors == []
    assert page.outside == []
