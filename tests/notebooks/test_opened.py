"""What becomes of a notebook that is opened: nothing; and of work that was saved without its kernel."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.labdriver import ROOT, LabPage, Server, lab_server
from tests.notebooks.made import code, notebook, save
from tests.notebooks.nbchecks import as_jupyterlab_saves
from vtdkit.views.shared.base import MOVE

Open = Callable[..., LabPage]
pytestmark = pytest.mark.browser
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EVERY = 2  # seconds between two autosaves
CARD = "from vtdkit.views import BitFieldCard\nBitFieldCard('SS-PTE', 0x1234003)"
SLIDER = "import ipywidgets\nipywidgets.IntSlider()"


@pytest.fixture(scope="module")
def copies(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Server]]:
    """The lessons, copied, in a JupyterLab that saves by itself."""
    folder = tmp_path_factory.mktemp("copies")
    shutil.copytree(ROOT / "notebooks", folder, dirs_exist_ok=True)
    with lab_server(folder, autosave=EVERY) as server:
        yield folder, server


@pytest.mark.parametrize("name", [path.name for path in NOTEBOOKS])
def test_a_lesson_that_is_only_opened_stays_as_it_is(
    name: str, copies: tuple[Path, Server], browser: Any
) -> None:
    folder, server = copies
    before = (folder / name).read_bytes()
    with LabPage(browser, server) as page:
        page.open(name)
        page.page.wait_for_timeout(2500 * EVERY)
        assert not page.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.model.dirty")
    assert (folder / name).read_bytes() == before


def test_a_notebook_of_another_python_stays_and_one_in_another_form_is_noticed(
    copies: tuple[Path, Server], browser: Any
) -> None:
    """The second half: else the test above could not fail."""
    folder, server = copies
    made = notebook(code("1 + 1\n2"))
    made["metadata"]["language_info"] = {"name": "python", "version": "3.99.1"}
    other, strange = folder / "other.ipynb", folder / "strange.ipynb"
    for path in (other, strange):
        path.write_text(as_jupyterlab_saves(made), encoding="utf-8")
    strange.write_text(strange.read_text(encoding="utf-8").replace('"name": "python",', '"name": "pearl",'))
    for path, stays in ((other, True), (strange, False)):
        before = path.read_bytes()
        with LabPage(browser, server) as page:
            page.open(path.name)
            page.page.wait_for_timeout(2500 * EVERY)
        assert (path.read_bytes() == before) is stays


def test_a_widget_whose_kernel_is_gone_shows_its_still(tmp_path: Path, open_lab: Open) -> None:
    save(tmp_path / "work.ipynb", notebook(code(CARD), code(SLIDER)))
    page = open_lab(tmp_path, "work.ipynb")
    page.run_all()
    context = "window.jupyterapp.shell.currentWidget.context"
    page.page.evaluate(f"() => {context}.sessionContext.restartKernel()")
    page.wait_idle()
    page.page.evaluate(f"() => {context}.save()")
    for how in ("reloaded", "shut down and opened again"):
        if how != "reloaded":
            page.page.evaluate(f"() => {context}.sessionContext.shutdown()")
        page.open("work.ipynb")
        outputs = page.panel.locator(".jp-OutputArea-output")
        image = outputs.nth(0).get_by_role("img")
        image.wait_for(timeout=20_000)
        assert image.get_attribute("alt").startswith("SS-PTE = 0x1234003: second stage")
        assert outputs.nth(0).inner_text().strip() == MOVE
        assert outputs.nth(1).inner_text().strip() == "Controls. Run the cell, and they move."
    page.run_all()
    assert page.panel.locator(".vtd").count() == 1
    assert outputs.nth(0).get_by_role("img").count() == 0
    saved = json.loads((tmp_path / "work.ipynb").read_text(encoding="utf-8"))
    assert "widgets" not in saved["metadata"]
    assert page.page_errors == []
