"""Arrows point down: no part of a unit imports the unit, not even for the types of its arguments."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import vtdkit.vtd

ROOM = Path(vtdkit.vtd.__file__).parent
PARTS = ("tables", "registers", "faults", "caches", "walk", "queue", "interrupts", "firmware")
FILES = sorted([*ROOM.glob("*.py"), *(path for part in PARTS for path in (ROOM / part).glob("*.py"))])


def imported(path: Path) -> set[str]:
    """The full names of the modules that a file of the room imports, wherever in it."""
    package = ("vtdkit.vtd", *path.relative_to(ROOM).parts[:-1])
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            whole = ".".join(filter(None, (base, node.module)))
            names |= {whole, *(f"{whole}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOM)))
def test_no_part_of_a_unit_imports_the_unit(path: Path) -> None:
    above = {name for name in imported(path) if name.startswith(("vtdkit.vtd.unit", "vtdkit.vtd.image"))}
    assert not above, f"{path.relative_to(ROOM)} imports {', '.join(sorted(above))}"


def test_the_test_sees_an_import_of_the_unit() -> None:
    assert "vtdkit.vtd.unit.unit.RemappingUnit" in imported(ROOM / "image" / "image.py")
    assert "vtdkit.vtd.unit.commands" in imported(ROOM / "unit" / "unit.py")
