"""The page about the room tells the truth: every module is on it, and what its example prints
is what comes out.
"""

from __future__ import annotations

import re
from pathlib import Path

from vtdkit.series.catalogue import SERIES, driver_at
from vtdkit.series.mainline import versions as mainline

ROOM = Path(__file__).parent.parent.parent / "vtdkit" / "series"
PAGE = (ROOM / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_it_says() -> None:
    printed = [
        repr(SERIES[12]),
        repr(SERIES[12].changed[4]),
        repr([cls.__name__ for cls in driver_at(3).__mro__[:4]]),
    ]
    assert "```\n" + "\n".join(printed) + "\n```" in PAGE


def test_the_numbers_of_versions_are_right() -> None:
    assert mainline.driver_at(0).title == "v5.19"
    assert mainline.driver_at(11) is mainline.RC1
    assert mainline.driver_at(13) is mainline.RC5
    for number in range(1, 13):
        module = driver_at(number).__module__.rsplit(".", 1)[1]
        assert re.search(rf"\| {number:02} .*`{module}\.py`", PAGE)
