"""Every notebook in JupyterLab and as a handout, in a real browser: it runs, it moves by keyboard, everything
has a name, nothing asks the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.handed.building import handouts
from tests.notebooks.axe import violations
from tests.notebooks.labdriver import ROOT, LabPage, Server, Watched, lab_server, unnamed

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
pytestmark = pytest.mark.browser
PAINTED = "scheme => document.body.dataset.jpThemeLight === String(scheme === 'light')"


@pytest.fixture(scope="module")
def server(browser: Any) -> Iterator[Server]:
    """One JupyterLab for all notebooks."""
    with lab_server(ROOT) as started:
        yield started


@pytest.fixture(scope="module")
def student(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The student edition of all notebooks."""
    return handouts(tmp_path_factory.mktemp("handouts"), NOTEBOOKS)


def steps(widget: Any) -> None:
    """Move every named slider of a widget by one with the keyboard; its value must follow."""
    for slider in widget.get_by_role("slider").all():
        if not slider.is_visible() or slider.is_disabled() or not slider.get_attribute("aria-label"):
            continue
        value = slider.get_attribute("aria-valuenow")
        at_end = value == slider.get_attribute("aria-valuemax")
        slider.press("ArrowLeft" if at_end else "ArrowRight")
        assert slider.get_attribute("aria-valuenow") != value, (
            f"slider {slider.get_attribute('aria-label')!r} did not move"
        )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_runs_in_jupyterlab_and_its_widgets_move_by_keyboard(
    path: Path, browser: Any, server: Server
) -> None:
    with LabPage(browser, server) as page:
        page.open(path.relative_to(ROOT).as_posix())
        page.run_all()
        assert page.errors() == []
        assert unnamed(page.accessibility()) == []
        for widget in page.widgets().all():
            steps(widget)
        page.wait_idle()
        assert page.errors() == []
        for theme in ("dark", "light"):
            page.set_theme(theme)
            page.wait_idle()
            assert violations(page.page, ".jp-OutputArea-output") == []
        assert (page.outside, page.page_errors, page.console_errors) == ([], [], [])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_its_handout_moves_when_opened_from_disk(path: Path, browser: Any, student: Path) -> None:
    with Watched(browser) as watched:
        watched.page.goto((student / f"{path.stem}.html").as_uri())
        shown = watched.page.locator(".jp-OutputArea-output.jupyter-widgets")
        for widget in shown.all():
            widget.locator(":scope > :not(script)").first.wait_for()
            steps(widget)
        for scheme in ("light", "dark"):
            watched.page.emulate_media(color_scheme=scheme)
            watched.page.wait_for_function(PAINTED, arg=scheme)
            assert violations(watched.page) == []
        assert (watched.outside, watched.page_errors, watched.console_errors) == ([], [], [])
