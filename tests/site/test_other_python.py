"""Another Python prints the same: the one of the built site (newer, on another architecture), run by node."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.site.sitepage import ROOT, SITE

PYODIDE = SITE / "static/pyodide"
LINES = re.compile(r"[\w/.-]+\.py:\d+")  # names of files differ, and lines of what goes over several


def test_the_python_of_the_site_prints_what_this_one_does() -> None:
    node = shutil.which("node")
    if node is None or not (PYODIDE / "plain.mjs").exists():
        pytest.skip("node is not installed" if node is None else "the site is not built here (make site)")
    here, there = (
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        for command in (
            [sys.executable, "-m", "tests.site.printed"],
            [node, ROOT / "tests/site/other_python.mjs", PYODIDE, ROOT],
        )
    )
    assert (here.returncode, here.stderr) == (there.returncode, there.stderr) == (0, "")
    assert len(here.stdout) > 10_000
    assert LINES.sub("", there.stdout).splitlines() == LINES.sub("", here.stdout).splitlines()
