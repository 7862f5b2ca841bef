"""Every room can be found by its folder's name: each says what is in it, and its map tells the truth."""

from __future__ import annotations

import ast
import importlib
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


@pytest.mark.parametrize("room", ROOMS, ids=called)
def test_a_face_gives_no_name_that_a_module_of_the_room_has(room: Path) -> None:
    """Python would give the module for it, once that is imported."""
    face = importlib.import_module(".".join(["vtdkit", *room.relative_to(PACKAGE).parts]))
    modules = {path.stem for path in room.glob("*.py")} | {
        path.parent.name for path in room.glob("*/__init__.py")
    }
    assert modules & set(getattr(face, "__all__", ())) == set()
    for name in getattr(face, "__all__", ()):
        assert getattr(face, name) is not None
