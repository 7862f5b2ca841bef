"""Every room can be found by its folder's name: each says what is in it, and its map tells the truth."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "vtdkit"
ROOMS = sorted({path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE})
PAGES = sorted(PACKAGE.rglob("README.md"))


def called(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("room", ROOMS, ids=called)
def test_a_room_says_what_is_in_it_and_is_not_crowded(room: Path) -> None:
    assert ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
    assert len(list(room.glob("*.py"))) <= 24


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_a_map_names_every_room_and_module_beside_it_and_no_other(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    there = {path.stem for path in page.parent.glob("*.py")} - {"__init__"}
    rooms = {path.parent.name for path in page.parent.glob("*/__init__.py")}
    assert {name for name in there | rooms if not re.search(rf"`(?:\w+/)*{name}(?:\.\w+|/|`)", text)} == set()
    files = {str(path.relative_to(PACKAGE.parent)) for path in PACKAGE.parent.glob("[ntv]*/**/*.*")}
    named = {name for name in re.findall(r"`((?:\w+/)*\w+\.(?:py|js|css))`", text) if "NN" not in name}
    assert {name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)} == set()
