"""An explained machine in a browser: its tables in the explorer, its entries as cards, its locks as a chart;
nothing in the text becomes part of the page.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.explain.test_public import told
from tests.views.widgetpage import WidgetPage
from vtdkit.explain.reading import explain

EVIL_LOCK = "  {}:  13  14  0.10  2.20 30.30 4.40 50  60  0.10 0.20 9.30 0.40\n"
CASES = tomllib.loads((Path(__file__).parent / "cases.toml").read_text(encoding="utf-8"))["case"]


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_dump_of_a_log_is_walked_in_the_explorer(browser: Any, theme: str) -> None:
    shown = told("dump-0x51.txt").explorer()
    with WidgetPage(browser, shown, theme=theme) as page:
        assert "0x1_026a_4000 → memory 0x1_026a_4000" in page.status()
        assert "pass-through" in page.status()
        page.root.get_by_role("textbox", name="DMA address, hexadecimal").fill("2000")
        assert "→ memory 0x2000" in page.status()
        assert page.complaints() == []


@pytest.mark.browser
def test_a_row_of_debugfs_is_walked_as_far_as_it_is_known(browser: Any) -> None:
    shown = told("dmar_translation_struct.txt").explorer("dmar0")
    with WidgetPage(browser, shown) as page:
        assert "0x" in page.status()
        assert page.complaints() == []


@pytest.mark.browser
def test_what_a_text_says_shows_as_cards_and_stays_text(browser: Any) -> None:
    evil = "<img src=x onerror=window.evil=1>"
    found = explain("".join(case["text"] for case in CASES) + f"{EVIL_LOCK.format(evil)}")
    with WidgetPage(browser, found.cards()[0]) as page:
        page.page.evaluate(
            "text => document.getElementById('host').insertAdjacentHTML('beforeend', text)",
            found._repr_html_(),
        )
        assert page.page.locator("#host > div > details").count() == min(len(found), 200)
        assert page.page.evaluate("window.evil") is None
        assert page.page.locator("img").count() == 0
        assert page.complaints() == []
