"""Every room can be found by its folder's name: each says what is in it, and its map tells the truth."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = (ROOT / "vtdkit", ROOT / "notebooks" / "lessons")
ROOMS = sorted({path.parent for place in PLACES for path in place.rglob("*.py")} - {PLACES[0]})
PAGES = sorted(page for place in PLACES for page in place.rglob("README.md"))


def called(path: Path) -> str:
    return path.relative_to(ROOT).as_posix().removeprefix("notebooks/")


@pytest.mark.parametrize("room", ROOMS, ids=called)
def test_a_room_says_what_is_in_it_and_is_not_crowded(room: Path) -> None:
    assert ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
    assert len(list(room.glob("*.py"))) <= 24


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_a_map_names_every_room_and_module_beside_it_and_no_other(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    there = {path.stem for path in page.parent.glob("*.py")} - {"__init__"}
    there |= {path.parent.name for path in page.parent.glob("*/__init__.py")}
    names = {name for name in there if not re.fullmatch(r"lesson\d\d", name)}  # `lessonNN` stands for those
    assert {name for name in names if not re.search(rf"`(?:\w+/)*{name}(?:\.\w+|/|`)", text)} == set()
    files = {str(path.relative_to(ROOT)) for path in ROOT.glob("[ntv]*/**/*.*")}
    named = {name for name in re.findall(r"`((?:\w+/)*\w+\.(?:py|js|css))`", text) if "NN" not in name}
    assert {name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)} == set()


@pytest.mark.parametrize("room", ROOMS, ids=called)
def test_a_face_gives_no_name_that_a_module_of_the_room_has(room: Path) -> None:
    """Python would give the module for it, once that is imported."""
    face = importlib.import_module(called(room).replace("/", "."))
    modules = {path.stem for path in room.glob("*.py")} | {
        path.parent.name for path in room.glob("*/__init__.py")
    }
    assert modules & set(getattr(face, "__all__", ())) == set()
    for name in getattr(face, "__all__", ()):
        assert getattr(face, name) is not None
