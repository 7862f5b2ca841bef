"""The built site for everybody: axe-core's rules on the page in front, on pages to read, and on what a lesson
shows when it runs in the browser. The rest of JupyterLab is JupyterLab's.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.notebooks.axe import violations
from tests.notebooks.labdriver import Watched
from tests.site.sitepage import SITE, SitePage
from tests.site.test_site import FEW

pytestmark = pytest.mark.browser
PAINTED = "scheme => document.body.dataset.jpThemeLight === String(scheme === 'light')"
READ = ["index", "glossary", *(name.removesuffix(".ipynb") for name in FEW)]


@pytest.mark.parametrize("path", ["", *(f"read/{name}.html" for name in READ)])
def test_axe_has_nothing_against_a_page(browser: Any, base: str, path: str) -> None:
    if path and not (SITE / path).exists():
        pytest.skip("the site was built without pages to read (make site READ=)")
    with Watched(browser) as watched:
        watched.page.goto(f"{base}/{path}", wait_until="networkidle")
        for scheme in ("light", "dark"):
            watched.page.emulate_media(color_scheme=scheme)
            if path.removeprefix("read/") in [f"{name}.html" for name in READ[2:]]:
                watched.page.wait_for_function(PAINTED, arg=scheme)
            assert violations(watched.page) == []


def test_axe_has_nothing_against_what_a_lesson_shows(browser: Any, base: str) -> None:
    with SitePage(browser, base) as page:
        page.open(FEW[0])
        page.run_all(timeout=300)
        for theme in ("light", "dark"):
            page.set_theme(theme)
            page.wait_idle()
            assert violations(page.page, ".jp-OutputArea-output") == []
