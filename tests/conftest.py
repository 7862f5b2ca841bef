"""What every test can use: the browser, and notebooks opened in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.notebooks.labdriver import LabPage, chromium, lab_server, why_no_browser

# The same examples each time: a failure is one for everybody. HYPOTHESIS_PROFILE=random looks further.
settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("random")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless chromium; the test is skipped, with the reason, where there is none."""
    if reason := why_no_browser():
        pytest.skip(reason)
    with chromium() as started:
        yield started


@pytest.fixture
def open_lab(browser: Any) -> Iterator[Callable[..., LabPage]]:
    """`open_lab(folder, "a.ipynb", theme="dark")` opens a notebook in a JupyterLab of its own; all is
    stopped after the test.
    """
    with ExitStack() as stack:

        def start(folder: Path, path: str, **options: Any) -> LabPage:
            page = stack.enter_context(LabPage(browser, stack.enter_context(lab_server(folder)), **options))
            page.open(path)
            return page

        yield start
