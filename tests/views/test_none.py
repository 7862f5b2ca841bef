"""A kernel inside the browser sends no None: every model then says, and every widget shows, what it does
otherwise, at every position.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.lab.test_steps import dump_unmap
from tests.views.javascript import call
from tests.views.test_backend_explorer import made
from tests.views.test_pagetables import mapped, pair
from tests.views.timeline_runs import contended
from tests.views.widgetpage import WidgetPage, without_none
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.lab.steps.schedule import record_schedule
from vtdkit.series.catalogue import SERIES, driver_at
from vtdkit.views.bits.widget import BitFieldCard
from vtdkit.views.pagetables.backends import BackendExplorer
from vtdkit.views.patch.widget import PatchView
from vtdkit.views.shared.base import Widget
from vtdkit.views.shared.bundle import VIEWS
from vtdkit.views.stepper.widget import Stepper
from vtdkit.views.timeline.widget import LockTimeline
from vtdkit.vtd.requests import Request, sid


@cache
def harmless() -> Any:
    """A schedule in which nothing is found, so that there is no point of no return."""
    return record_schedule(SCENARIOS["dump-unmap"].on(driver_at(1)), "cat*3")


def card() -> BitFieldCard:
    """The last entry of a walk, with what hardware answers."""
    pc, _ = mapped()
    walk = pc.hardware[0].unit.walk(Request(sid("00:03.0"), 0x11000))
    return BitFieldCard(walk.steps[-1], unit=pc.hardware[0].unit, request=walk.request)


MADE: dict[str, Callable[[], Widget]] = {
    "stepper": lambda: Stepper(dump_unmap()),
    "stepper, nothing found": lambda: Stepper(harmless()),
    "timeline": lambda: LockTimeline(contended()),
    "patch": lambda: PatchView(SERIES[1]),
    "page tables": pair,
    "card": card,
    "AMD's tables": lambda: BackendExplorer(made("amd"), iova=0xF000),
    "Arm's tables": lambda: BackendExplorer(made("arm"), iova=0xF000),
}


@pytest.mark.browser
@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_what_is_none_need_not_be_there(make: Callable[[], Widget], browser: Any) -> None:
    shown = []
    for hosted in (False, True):
        with WidgetPage(browser, make(), hosted=hosted) as page:
            texts = [page.html()]
            for key in ("ArrowRight", "ArrowDown", "End", "Home"):
                page.root.locator("[tabindex='0']").first.press(key)
                texts.append(page.html())
            assert page.complaints() == []
        assert not any("NaN" in text or "undefined" in text for text in texts)
        shown.append(texts)
    assert shown[0] == shown[1]


STEPS = """(m, given) => {
  const run = m.unfold(given);
  return run.steps.map((step, at) => [m.says(run, at), m.states(run, at), m.changed(run, at), m.freedBy(run, at), m.locksAt(run, at),
    m.nextSwitch(run, at, 1), m.nextSwitch(run, at, -1), m.ahead(run, at) ?? "none"]);
}"""
LANES = """async (m, given) => (await m.decode(given)).map((run) => Array.from({ length: 50 }, (_, i) => (i * run.length) / 50 | 0).map((time) =>
  [m.sentence(run, time), m.locksAt(run, time), run.lanes.map((lane, cpu) => m.bars(run, cpu, 0, Math.max(time, 1), 800))]))"""
WALKS = """(m, given) => given.sides.map((side) => side.ranges.flatMap(([low]) => ["read", "write"].flatMap((kind) => [-4096n, 0n, 4096n].map((by) =>
  m.look(side, BigInt(low) + by, kind)))))"""
BITS = """(m, given) => Object.values(given.layouts).map((layout) => [given.start, "0x0", "0xffffffff"].map((raw) => m.decode(layout, BigInt(raw))))"""
MODELS = {
    "stepper": ("stepper/stepper_model.js", STEPS),
    "stepper, nothing found": ("stepper/stepper_model.js", STEPS),
    "timeline": ("timeline/timeline_model.js", LANES),
    "page tables": ("pagetables/pagetables_rows.js", WALKS),
    "card": ("bits/bits.js", BITS),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_the_same_without_what_is_none(name: str) -> None:
    script, body = MODELS[name]
    record = json.loads(json.dumps(MADE[name]().record))
    said = call(script, body, record)
    assert said
    assert call(script, body, without_none(record)) == said


def test_scripts_ask_in_one_way_whether_something_is_there() -> None:
    """By `there`, in common.js: what is None may be null or undefined."""
    for path in VIEWS.rglob("*.js"):
        lines = path.read_text(encoding="utf-8").splitlines()
        asks = [line for line in lines if re.search(r"[!=]==? (null|undefined)\b", line)]
        assert [line for line in asks if not line.startswith("export const there = ")] == [], path.name


def test_these_widgets_do_send_none() -> None:
    """Else the test above could not fail."""
    for name in ("stepper, nothing found", "page tables"):
        record = MADE[name]().record
        assert without_none(record) != record
