"""The scenes of a notebook, for tests: what its cells of imports and function definitions define.

    scenes("08").dump_scene(driver)

Cells that do anything else are not run, so that asking for a scene runs none.
"""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from tests.notebooks.nbchecks import source

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
DEFINES = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def scenes(number: str) -> SimpleNamespace:
    """What the notebook that begins with `number` imports and defines. LookupError if there is none."""
    found = sorted(NOTEBOOKS.glob(f"{number}-*.ipynb"))
    if not found:
        raise LookupError(f"no notebook begins with {number}")
    names: dict[str, object] = {}
    for cell in json.loads(found[0].read_text(encoding="utf-8"))["cells"]:
        tree = ast.parse(source(cell)) if cell["cell_type"] == "code" else ast.Module([], [])
        if all(isinstance(statement, DEFINES) for statement in tree.body):
            exec(compile(tree, found[0].name, "exec"), names)
    return SimpleNamespace(**names)
