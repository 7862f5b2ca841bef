"""The project's own notebooks keep the rules, and the pages beside them link to what exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notebooks.nbchecks import broken, links, problems

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "notebooks").glob("*.md"), *(ROOT / "vtdkit").rglob("*.md")])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_keeps_the_rules(path: Path) -> None:
    assert problems(path) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [problem for link in links(text) if (problem := broken(link, path))] == []
