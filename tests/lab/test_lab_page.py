"""The page about the room tells the truth: every module is on it, and what its example prints
is what comes out.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

ROOM = Path(__file__).parent.parent.parent / "vtdkit" / "lab"
PAGE = (ROOM / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_it_says() -> None:
    code, printed = re.findall(r"```(?:python)?\n(.*?)```", PAGE, re.S)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    assert out.getvalue() == printed
