"""A kernel inside the browser sends no None: every widget then shows what it shows otherwise, at every position."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.lab.test_steps import dump_unmap
from tests.views.test_pagetables import pair
from tests.views.timeline_runs import contended
from tests.views.widgetpage import WidgetPage, without_none
from vtdkit.lab.computer import Computer
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.lab.steps.schedule import record_schedule
from vtdkit.series.catalogue import SERIES, driver_at
from vtdkit.views.bits.widget import BitFieldCard
from vtdkit.views.patch.widget import PatchView
from vtdkit.views.shared.base import Widget
from vtdkit.views.stepper.widget import Stepper
from vtdkit.views.timeline.widget import LockTimeline


@cache
def harmless() -> Any:
    """A schedule in which nothing is found, so that there is no point of no return."""
    return record_schedule(SCENARIOS["dump-unmap"].on(driver_at(1)), "cat*3")


MADE: dict[str, Callable[[], Widget]] = {
    "stepper": lambda: Stepper(dump_unmap()),
    "stepper, nothing found": lambda: Stepper(harmless()),
    "timeline": lambda: LockTimeline(contended()),
    "patch": lambda: PatchView(SERIES[1]),
    "page tables": pair,
    "register": lambda: BitFieldCard("GCMD", 1 << 31, unit=Computer().hardware[0].unit),
}


@pytest.mark.browser
@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_what_is_none_need_not_be_there(make: Callable[[], Widget], browser: Any) -> None:
    shown = []
    for hosted in (False, True):
        with WidgetPage(browser, make(), hosted=hosted) as page:
            texts = [page.root.evaluate("node => node.outerHTML")]
            for key in ("ArrowRight", "ArrowDown", "End", "Home"):
                page.root.locator("[tabindex='0']").first.press(key)
                texts.append(page.root.evaluate("node => node.outerHTML"))
            assert page.complaints() == []
        assert not any("NaN" in text or "undefined" in text for text in texts)
        shown.append(texts)
    assert shown[0] == shown[1]


def test_these_widgets_do_send_none() -> None:
    """Else the test above could not fail."""
    for name in ("stepper, nothing found", "register"):
        record = MADE[name]().record
        assert without_none(record) != record
