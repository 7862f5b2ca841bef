"""The page about the room tells the truth: every module is on it, and what its example prints is what comes out."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

ROOM = Path(__file__).parent.parent.parent / "vtdkit" / "lab"
PAGE = (ROOM / "README.md").read_text(encoding="utf-8")


def test_every_module_and_folder_is_on_the_map() -> None:
    assert set(re.findall(r"`(\w+\.py)`", PAGE)) >= {path.name for path in ROOM.glob("*.py")} - {"__init__.py"}
    assert all((ROOM / name).exists() for name in re.findall(r"`((?:\w+/)*\w+\.py)`", PAGE) if "NN" not in name)
    assert {path.parent.name for path in ROOM.glob("*/__init__.py")} <= set(re.findall(r"`(\w+)/", PAGE))


def test_the_example_prints_what_it_says() -> None:
    code, printed = re.findall(r"```(?:python)?\n(.*?)```", PAGE, re.S)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    assert out.getvalue() == printed
