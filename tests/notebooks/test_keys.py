"""Who has the keys in JupyterLab: a press anywhere in a widget gives them to it, Escape gives them back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.labdriver import LabPage
from tests.notebooks.made import code, notebook, prose, save

Open = Callable[..., LabPage]
pytestmark = pytest.mark.browser
LESSON = notebook(
    prose("text\n\n" * 30),
    code(
        "from vtdkit.lab.scenarios.catalogue import SCENARIOS\n"
        "from vtdkit.lab.steps.schedule import record_schedule\n"
        "from vtdkit.series.catalogue import driver_at\n"
        "from vtdkit.views import Stepper\n"
        "scenario = SCENARIOS['dump-unmap'].on(driver_at(1))\n"
        "Stepper(record_schedule(scenario, 'unmap*2 cat unmap cat unmap*3 cat'))"
    ),
    *(prose("text\n\n" * 30) for _ in range(4)),
)


def at(page: LabPage) -> int:
    page.wait_idle()
    return int(page.panel.get_by_role("slider", name="step").get_attribute("aria-valuenow"))


def comes_to(page: LabPage, step: int) -> bool:
    """Whether the widget is at a step within two seconds: a busy machine takes its time for a key."""
    for _ in range(20):
        if at(page) == step:
            return True
        page.page.wait_for_timeout(100)
    return False


def scrolled(page: LabPage) -> Any:
    return page.panel.evaluate(
        "node => [node, ...node.querySelectorAll('.jp-WindowedPanel-outer')].map((each) => each.scrollTop)"
    )


def test_a_press_anywhere_gives_the_widget_the_keys_and_escape_gives_them_back(
    tmp_path: Path, open_lab: Open
) -> None:
    save(tmp_path / "keys.ipynb", LESSON)
    page = open_lab(tmp_path, "keys.ipynb")
    page.run_all()
    widget = page.panel.locator(".vtd")
    widget.scroll_into_view_if_needed()
    cells, before = len(page.cells()), 0
    for place in (
        widget.locator(".vtd-stepper-line").nth(2),  # a line of source
        widget.locator(".vtd-title"),  # nothing that can be pressed
        widget.locator(".vtd-stepper-name").first,
        widget.get_by_role("button", name="Forward"),
    ):
        place.click()
        page.wait_idle()
        before, scroll = at(page), scrolled(page)
        assert widget.locator(".vtd-keyed").is_visible()
        page.page.keyboard.press("ArrowRight")
        assert comes_to(page, before + 1)
        for key in ("ArrowRight", "ArrowLeft", "d", "d", "a"):
            page.page.keyboard.press(key)
        assert comes_to(page, before + 1)
        assert scrolled(page) == scroll
        assert len(page.cells()) == cells
        assert widget.locator(".vtd-keyed").is_visible()
    page.page.keyboard.press("Enter")  # the button was pressed last, and still can be
    assert comes_to(page, before + 2)
    page.page.keyboard.press("Escape")
    assert not widget.locator(".vtd-keyed").is_visible()
    page.page.keyboard.press("ArrowRight")
    assert at(page) == before + 2
    page.page.keyboard.press("d")
    page.page.keyboard.press("d")
    page.page.wait_for_function(
        "count => document.querySelectorAll('.jp-Notebook .jp-Cell').length < count", arg=cells
    )
    assert page.page_errors == []
