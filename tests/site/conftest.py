"""The built site, served for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.site.sitepage import SITE, site_server


@pytest.fixture(scope="module")
def base(browser: Any) -> Iterator[str]:
    """Where the site is served."""
    if not (SITE / "index.html").exists():
        pytest.skip("the site is not built here (make site)")
    with site_server(SITE) as address:
        yield address
