"""Widgets for everybody: axe-core's rules, large text, few motions, forced colours, what is read out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.notebooks.axe import violations
from tests.views.test_none import MADE
from tests.views.widgetpage import WidgetPage

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", MADE)
def test_axe_has_nothing_against_a_widget(browser: Any, name: str, theme: str) -> None:
    for width in (1280, 900):
        with WidgetPage(browser, MADE[name](), theme=theme, width=width) as page:
            page.page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
            for key in ("", "End", "ArrowLeft"):
                if key:
                    page.root.locator("[tabindex='0']").first.press(key)
                assert violations(page.page, ".vtd") == []


def test_axe_would_have_something_against_a_bad_one(browser: Any) -> None:
    with WidgetPage(browser, MADE["patch"]()) as page:
        page.page.evaluate("document.querySelector('button').replaceWith(document.createElement('button'))")
        page.page.evaluate("document.querySelector('.vtd-pv-claim').style.color = '#bbb'")
        assert {line.split(":")[0] for line in violations(page.page, ".vtd")} == {
            "button-name",
            "color-contrast",
        }


@pytest.mark.parametrize("name", MADE)
def test_text_twice_as_large_stays_inside(browser: Any, name: str) -> None:
    with WidgetPage(browser, MADE[name](), zoom=2) as page:
        assert page.complaints() == []
        cut = page.root.evaluate(
            """root => [...root.querySelectorAll("button, td, th, summary, .vtd-title, .vtd-status")]
              .filter((node) => !node.closest(".vtd-hidden") && node.scrollWidth > node.clientWidth + 1 && getComputedStyle(node).overflowX === "hidden")
              .map((node) => node.textContent)"""
        )
        assert cut == []


@pytest.mark.parametrize("name", MADE)
def test_with_forced_colours_and_little_motion_it_works(browser: Any, name: str) -> None:
    with WidgetPage(browser, MADE[name]()) as page:
        page.page.emulate_media(forced_colors="active", reduced_motion="reduce")
        page.root.locator("[tabindex='0']").first.press("ArrowRight")
        moving = page.root.evaluate(
            "root => [root, ...root.querySelectorAll('*')].filter((node) => parseFloat(getComputedStyle(node).transitionDuration) > 0.01"
            " || parseFloat(getComputedStyle(node).animationDuration) > 0.01).length"
        )
        assert moving == 0
        colours = (
            "node => { const style = getComputedStyle(node); return [style.backgroundColor, style.color]; }"
        )
        plain = page.root.evaluate(colours)
        assert plain[0] != plain[1]
        for node in page.root.locator("[aria-pressed='true'], [aria-selected='true'], [aria-current]").all():
            ground, ink = node.evaluate(colours)
            assert ground not in (plain[0], ink), node.inner_text()
        for text in page.root.locator("svg text:not([class*='-on-'])").all():
            assert text.evaluate("node => getComputedStyle(node).fill") != plain[0]
        assert page.complaints() == []


def test_a_widget_looks_the_same_after_another_one(browser: Any) -> None:
    """Each brings the common sheet along, and a page has them in the order in which they come."""
    looks = []
    for other in (None, MADE["patch"]()):
        with WidgetPage(browser, MADE["timeline"]()) as page:
            if other is not None:
                page.page.add_style_tag(content=str(other._css))
            looks.append(
                page.root.evaluate(
                    """root => [...root.querySelectorAll("*")].map((node) => {
                      const style = getComputedStyle(node), box = node.getBoundingClientRect();
                      return [node.className?.toString(), style.color, style.backgroundColor, style.border, box.width, box.height].join();
                    })"""
                )
            )
    assert looks[0] == looks[1]
