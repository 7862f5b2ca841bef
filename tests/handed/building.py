"""Handouts as `make handouts` makes them, for tests that open them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.notebooks.labdriver import ROOT


def handouts(out: Path, notebooks: Sequence[Path]) -> Path:
    """The folder with the student edition of some notebooks. Skips the test, with the reason, where what
    pages carry cannot be fetched.
    """
    cache = ROOT / "build" / "npm"
    if shutil.which("npm") is None and not any(cache.glob("*.tgz")):
        pytest.skip("there is no npm here to fetch the widget manager with (Debian: apt-get install npm)")
    command = [sys.executable, "-m", "vtdkit", "handouts", "--out", str(out), "--cache", str(cache)]
    done = subprocess.run(
        [*command, *map(str, notebooks)], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    return out / "student"
