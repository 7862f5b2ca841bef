"""The browser harness, tried on a tiny notebook with a tiny widget."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebooks.labdriver import LabPage, find_chromium, unnamed, why_no_browser
from tests.notebooks.made import code, notebook, save
from tests.notebooks.tiny import tiny_notebook

Open = Callable[..., LabPage]


def test_the_reason_to_skip_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert find_chromium() is None
    assert why_no_browser() in {
        "there is no chromium here (Debian: apt-get install chromium)",
        "playwright is not installed (pip install -e .[browser])",
    }


def test_controls_without_a_name_are_found() -> None:
    snapshot = (
        '- slider "step"\n- slider\n- img "page table"\n  - img\n- button "next"\n- text: slider\n- '
        'tabpanel\n- slider: "3"'
    )
    assert unnamed(snapshot) == ["- slider", "- img", '- slider: "3"']


@pytest.mark.browser
def test_a_notebook_runs_its_widget_moves_by_key_and_nothing_asks_the_network(
    tmp_path: Path, open_lab: Open
) -> None:
    save(tmp_path / "tiny.ipynb", tiny_notebook())
    before = (tmp_path / "tiny.ipynb").read_bytes()
    page = open_lab(tmp_path, "tiny.ipynb")
    page.run_all()
    assert page.errors() == []
    slider = page.panel.get_by_role("slider", name="step")
    assert slider.inner_text() == "picture 0"
    for _ in range(3):
        slider.press("ArrowRight")
    assert slider.inner_text() == "picture 3"
    slider.press("ArrowLeft")
    assert (slider.inner_text(), slider.get_attribute("aria-valuenow")) == ("picture 2", "2")
    assert page.widgets().count() == 2
    assert 'slider "step"' in page.accessibility()
    assert len(unnamed(page.accessibility())) == 1  # ipywidgets' own slider has no accessible name
    assert page.outside == []
    assert page.page_errors == []
    assert (tmp_path / "tiny.ipynb").read_bytes() == before, "looking at a notebook must not change it"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.ipynb"]


@pytest.mark.browser
def test_errors_are_told_with_their_cell_and_pictures_show_both_themes(
    tmp_path: Path, open_lab: Open
) -> None:
    save(tmp_path / "bad.ipynb", notebook(code("1 / 0"), code("print('not reached')")))
    page = open_lab(tmp_path, "bad.ipynb", theme="dark")
    page.run_all()
    assert page.errors() == ["cell 1: ZeroDivisionError: division by zero"]
    dark = page.screenshots(tmp_path / "shots", "bad")
    page.set_theme("light")
    light = page.screenshots(tmp_path / "shots", "bad")
    assert [path.name for path in dark + light] == ["bad-dark-1.png", "bad-light-1.png"]
    assert dark[0].read_bytes() != light[0].read_bytes()


@pytest.mark.browser
def test_the_server_is_gone_afterwards(tmp_path: Path, open_lab: Open, browser: object) -> None:
    from tests.notebooks.labdriver import lab_server

    with lab_server(tmp_path) as server:
        os.kill(server.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
