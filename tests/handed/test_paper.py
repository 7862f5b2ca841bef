"""Handouts on paper: no page ends long before its end because a widget waits for the next one, and nothing
that scrolls on a screen leaves a bar there.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.handed.building import handouts
from tests.notebooks.labdriver import ROOT, Watched

pytestmark = pytest.mark.browser
LESSONS = ("01-the-debugfs-dump", "16-who-may-walk-while-others-free", "18-addresses-from-a-cache")
MARGIN = 0.05  # of the height of A4, above and below
WIDGETS = "[...document.querySelectorAll('.jp-OutputArea-output.jupyter-widgets')]"
SCROLLING = """() => [...document.querySelectorAll("body.jp-Notebook, body.jp-Notebook *")]
  .filter((node) => node.getClientRects().length && !node.closest(".vtd"))
  .filter((node) => /auto|scroll/.test(getComputedStyle(node).overflow)).map((node) => node.className)"""


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("pdftoppm") is None:
        pytest.skip("there is no pdftoppm here (Debian: apt-get install poppler-utils)")
    return handouts(
        tmp_path_factory.mktemp("paper"), [ROOT / "notebooks" / f"{name}.ipynb" for name in LESSONS]
    )


def filled(paper: bytes, folder: Path) -> list[float]:
    """How far down each page but the last is printed on, as a part of the height between its margins."""
    subprocess.run(["pdftoppm", "-r", "20", "-gray", "-", str(folder / "page")], input=paper, check=True)
    found = []
    for path in sorted(folder.glob("page-*.pgm"))[:-1]:
        _, size, _, points = path.read_bytes().split(b"\n", 3)
        width, height = map(int, size.split())
        inked = [row for row in range(height) if min(points[row * width :][:width]) < 200]
        found.append((max(inked) / height - MARGIN) / (1 - 2 * MARGIN))
    return found


@pytest.mark.parametrize("name", LESSONS)
def test_no_page_is_left_a_quarter_empty_and_nothing_scrolls(
    student: Path, browser: Any, tmp_path: Path, name: str
) -> None:
    with Watched(browser, width=688) as watched:
        page = watched.page
        page.goto((student / f"{name}.html").as_uri())
        page.wait_for_function(f"() => {WIDGETS}.every((each) => each.querySelector('.vtd'))")
        page.emulate_media(media="print")
        assert page.evaluate(SCROLLING) == []
        margin = {"top": "15mm", "bottom": "15mm", "left": "14mm", "right": "14mm"}
        pages = filled(page.pdf(format="A4", margin=margin, print_background=True), tmp_path)
    assert len(pages) > 5
    assert min(pages) > 0.7, pages
