"""The built site (`make site`) in a browser: each lesson runs from top to bottom and prints what
it prints elsewhere.

Skipped, with the reason, where the site was not built. `VTDKIT_SITE=few` runs three lessons only.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.notebooks.labdriver import ROOT, Watched
from tests.site.sitepage import SITE, SitePage

pytestmark = pytest.mark.browser
LESSONS = sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
FEW = [name for name in LESSONS if name[:2] in ("00", "07", "12")]


def printed(cell: dict[str, Any]) -> str:
    """All that a code cell shows, as plain text."""
    outputs = cell["outputs"]
    texts = [output.get("text") or output.get("data", {}).get("text/plain") or "" for output in outputs]
    return "".join("".join(text) for text in texts)


@pytest.mark.parametrize("name", FEW if os.environ.get("VTDKIT_SITE") == "few" else LESSONS)
def test_a_lesson_runs_to_its_end_and_prints_what_it_prints_elsewhere(
    browser: Any, base: str, name: str
) -> None:
    saved = json.loads((ROOT / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
    with SitePage(browser, base) as page:
        page.open(name)
        page.run_all(timeout=900)
        found = page.cells()
        assert page.errors() == []
        assert (page.outside, page.page_errors) == ([], [])
    pairs = [(old, new) for old, new in zip(saved, found, strict=True) if old["cell_type"] == "code"]
    assert [printed(new) for _, new in pairs] == [printed(old) for old, _ in pairs]


def test_a_widget_is_drawn_and_takes_keys(browser: Any, base: str) -> None:
    with SitePage(browser, base) as page:
        page.open(FEW[0])
        page.run_all(timeout=900)
        slider = page.widgets().get_by_role("slider").first
        slider.scroll_into_view_if_needed()
        before = slider.get_attribute("aria-valuetext") or slider.get_attribute("aria-valuenow")
        slider.press("ArrowRight")
        assert (slider.get_attribute("aria-valuetext") or slider.get_attribute("aria-valuenow")) != before


def test_a_widget_whose_kernel_is_gone_shows_its_still(browser: Any, base: str) -> None:
    with SitePage(browser, base) as page:
        page.open(FEW[0])
        page.run_all(timeout=900)
        page.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.save()")
        page.open(FEW[0])
        page.widgets().first.get_by_role("img").first.wait_for(timeout=20_000)
        assert page.panel.locator(".vtd").count() == 0  # no widget is alive
        assert page.panel.get_by_text("Error displaying widget").count() == 0


def test_a_lesson_is_opened_without_those_of_the_last_visit(browser: Any, base: str) -> None:
    with SitePage(browser, base) as page:
        for name in FEW[:2]:
            page.open(name)
        running = "() => [...window.jupyterapp.serviceManager.sessions.running()].map(each => each.path)"
        assert page.page.evaluate(running) == [FEW[1]]


def test_the_page_in_front_leads_to_every_lesson_and_asks_nobody_else(browser: Any, base: str) -> None:
    with Watched(browser) as page:
        page.page.goto(base + "/", wait_until="networkidle")
        links = page.page.locator("li a").evaluate_all("all => all.map(each => each.getAttribute('href'))")
        run = [f"lab/index.html?path={name}&workspace={name.removesuffix('.ipynb')}" for name in LESSONS]
        assert [link for link in links if "path=" in link] == run
        assert all((SITE / link).exists() for link in links if link.startswith("read/"))
        assert (page.outside, page.page_errors) == ([], [])
