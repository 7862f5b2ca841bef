"""The lock timeline as a widget: what it says, its still, and keys in a page; and
a hundred thousand events.
"""

from __future__ import annotations

import json
import random
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from tests.views.test_base import contrast
from tests.views.timeline_runs import contended, driver_run
from tests.views.widgetpage import WidgetPage
from vtdkit.kernel.machine.costs import IDEAL
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.record.trace import Trace
from vtdkit.views.shared.record import BadRecord
from vtdkit.views.timeline.fold import timeline_of
from vtdkit.views.timeline.widget import LockTimeline

LOCK = "device_domain_lock"


@cache
def run(version: int, rounds: int = 6) -> tuple[Trace, int]:
    _, trace, start = driver_run(version, rounds)
    return trace, start


def before_and_after(**more: Any) -> LockTimeline:
    (one, start), (other, _) = run(0), run(1)
    return LockTimeline(one, other, start=start, labels=("before the patch", "after it"), **more)


@cache
def many(turns: int = 1900, chance: int = 0) -> Trace:
    """Eight CPUs and two locks, one inside the other; about sixty events a turn. With `chance` (ns) each turn
    works so much longer at the most, drawn by lot.
    """
    machine, draw = Machine(cpus=8), random.Random(0)
    outer, inner = machine.spinlock("outer"), machine.spinlock("inner")

    async def work(number: int) -> None:
        for _ in range(turns):
            async with outer.irqsave():
                await machine.work(50 + number + draw.randrange(chance + 1))
                async with inner:
                    await machine.work(20 + draw.randrange(chance + 1))
            await machine.work(300 + draw.randrange(chance + 1))

    for number in range(8):
        machine.spawn(work(number), cpu=number, name=f"worker{number}")
    return machine.simulate()


def sleeps() -> Trace:
    """A finding half way: a mutex is asked for with preemption off."""
    machine = Machine(cpus=1)

    async def thread() -> None:
        await machine.work(1000)
        machine.irq.preempt_disable()
        await machine.mutex("m").acquire()
        await machine.work(1000)

    machine.spawn(thread(), cpu=0)
    return machine.simulate()


# -- in Python ----------------------------------------------------------------


def test_it_says_what_every_cpu_does_at_the_cursor() -> None:
    widget = LockTimeline(contended(), cursor=500)
    assert widget.summary() == (
        f"at 500 ns. CPU0 (reader) holding {LOCK}. CPU1 (writer) spinning for {LOCK}, "
        "interrupts off. CPU2 idle."
    )
    assert repr(widget) == f"<LockTimeline {widget.summary()}>"
    assert (widget.left, widget.right) == (0, 1500)


def test_of_two_runs_each_has_its_label_and_the_shorter_one_ends() -> None:
    widget = LockTimeline(contended(), timeline_of(contended(), end=600), labels=("whole", "cut"), cursor=700)
    assert "whole: CPU0 (reader)" in widget.summary()
    assert widget.summary().endswith("cut: ended at 600 ns.")


def test_labels_must_be_as_many_as_runs() -> None:
    with pytest.raises(ValueError, match="1 runs need as many labels, not 2"):
        LockTimeline(contended(), labels=("a", "b"))


def test_the_still_has_lanes_locks_and_meanings_and_is_small() -> None:
    text = before_and_after(cursor=5000).still().svg
    for shown in (
        "CPU3",
        f"A {LOCK}",
        "before the patch",
        "after it",
        "waits for a lock that another CPU has",
        "18 of 19",
    ):
        assert shown in text, shown
    assert len(text) < 45_000


def test_a_still_of_a_hundred_thousand_events_is_no_larger_than_a_notebook_can_bear() -> None:
    trace = many()
    assert len(trace) > 100_000
    assert len(LockTimeline(trace).still().img) < 61_000


def test_a_hundred_thousand_events_that_repeat_are_ten_thousand_bytes() -> None:
    assert len(json.dumps(LockTimeline(many()).record)) < 10_000


def test_far_too_many_events_are_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LockTimeline, "largest_record", 1_000)
    with pytest.raises(BadRecord, match="show less, or a part"):
        LockTimeline(many())


# -- in a page ----------------------------------------------------------------


@pytest.mark.browser
def test_a_million_events_at_random_times_open_and_every_one_can_be_reached(browser: Any) -> None:
    trace = many(19_000, 1000)
    assert len(trace) > 1_000_000
    widget = LockTimeline(trace)
    last = trace.where(kind="spin")[-1]
    with WidgetPage(browser, widget) as page:
        page.slider("time").press("End")
        page.slider("time").press("Shift+N")
        assert page.position("cursor") == last.time
        assert f"CPU{last.cpu} ({last.context}) spinning for outer" in page.status()
        for _ in range(20):
            page.slider("time").press("+")
        assert page.position("right") - page.position("left") < 1000
        page.slider("time").press("0")
        assert page.complaints() == []


def said(page: WidgetPage) -> str:
    return page.status().removeprefix("At ")


@pytest.mark.browser
def test_keys_move_the_cursor_and_the_page_says_what_python_says(browser: Any) -> None:
    widget = LockTimeline(contended())
    with WidgetPage(browser, widget) as page:
        time = page.slider("time")
        seen = []
        for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight", "End", "ArrowLeft"):
            time.press(key)
            widget.cursor = page.position("cursor")
            assert said(page) == widget.summary().removeprefix("at ").replace(". ", ": ", 1)
            seen.append(widget.cursor)
        assert seen == [0, 200, 1000, 1300, 1500, 1300]
        assert time.get_attribute("aria-valuetext") == "1,300 ns of 1,500 ns"
        assert page.complaints() == []


@pytest.mark.browser
def test_n_goes_to_the_next_wait_and_f_to_the_next_finding(browser: Any) -> None:
    with WidgetPage(browser, before_and_after()) as page:
        time, stops = page.slider("time"), [0]
        for _ in range(4):
            time.press("n")
            stops.append(page.position("cursor"))
        assert all(one < other for one, other in pairwise(stops))
        assert "spinning" in page.status()
        time.press("Shift+N")
        assert page.position("cursor") == stops[-2]
        time.press("f")
        assert page.status() == "The checkers found nothing there."
        assert page.complaints() == []
    with WidgetPage(browser, LockTimeline(sleeps())) as page:
        page.slider("time").press("f")
        assert page.position("cursor") == 1000
        assert page.complaints() == []


@pytest.mark.browser
def test_zoom_keeps_the_cursor_in_sight_and_0_shows_all(browser: Any) -> None:
    widget = before_and_after(cursor=20_000)
    with WidgetPage(browser, widget) as page:
        time = page.slider("time")
        for _ in range(5):
            time.press("+")
        left, right = page.position("left"), page.position("right")
        assert left <= 20_000 <= right
        assert right - left < widget.right / 30
        time.press("-")
        assert page.position("right") - page.position("left") > right - left
        time.press("0")
        assert (page.position("left"), page.position("right")) == (0, widget.right)


@pytest.mark.browser
def test_a_lock_is_chosen_in_the_table_and_a_cpu_with_the_arrows(browser: Any) -> None:
    with WidgetPage(browser, before_and_after(cursor=5000)) as page:
        pick = page.root.get_by_role("button", name=f"A {LOCK}").first
        pick.click()
        assert page.position("lock") == LOCK
        assert pick.get_attribute("aria-pressed") == "true"
        pick.click()
        assert page.position("lock") == ""
        page.slider("time").press("ArrowDown")
        assert page.position("row") == 1
        assert f"before the patch, CPU1, worker0: spinning for {LOCK}" in page.root.inner_text()
        locks = page.root.get_by_role("region", name="locks").inner_text()
        assert "has it: CPU0" in locks
        assert page.complaints() == []


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_at_double_size_nothing_is_wider_than_the_page(browser: Any, theme: str) -> None:
    with WidgetPage(browser, before_and_after(cursor=5000), theme=theme, zoom=2) as page:
        assert page.complaints() == []


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 900])
def test_two_runs_under_one_cursor_fit_on_one_screen(browser: Any, width: int, theme: str) -> None:
    with WidgetPage(browser, before_and_after(cursor=5000), theme=theme, width=width) as page:
        box = page.root.bounding_box()
        assert box["height"] <= 620
        needles = page.root.locator(".vtd-timeline-lanes .vtd-timeline-needle")
        assert len({needle.bounding_box()["x"] for needle in needles.all()}) == 1
        heads = [each.inner_text() for each in page.root.get_by_role("columnheader").all()]
        assert heads == ["before the patch", "after it"]
        row = page.root.get_by_role("row").nth(2).inner_text()
        assert "has it: CPU0" in row
        assert page.complaints() == []


@pytest.mark.browser
def test_the_wheel_zooms_at_the_pointer_and_a_drag_moves_the_window(browser: Any) -> None:
    with WidgetPage(browser, before_and_after(cursor=5000)) as page:
        lanes = page.root.locator(".vtd-timeline-lanes").first
        box = lanes.bounding_box()
        across, y = box["width"] - 54, box["y"] + 20
        where = [box["x"] + 52 + across * share for share in (0.25, 0.75)]

        def window() -> tuple[int, int]:
            return page.position("left"), page.position("right")

        whole = window()
        page.page.mouse.move(where[1], y)
        page.page.mouse.wheel(0, -100)
        assert window() == whole  # the page has the wheel until the widget has the keys
        page.root.get_by_role("button", name="Next wait").click()
        page.page.mouse.move(where[1], y)
        for _ in range(4):
            page.page.mouse.wheel(0, -100)
            page.page.wait_for_timeout(50)
        left, right = window()
        assert right - left < whole[1] * 0.45
        assert left + 0.75 * (right - left) == pytest.approx(0.75 * whole[1], abs=whole[1] / 50)
        cursor = page.position("cursor")
        page.page.mouse.down()
        page.page.mouse.move(where[1] + 100, y)
        page.page.mouse.up()
        moved = window()
        assert moved[1] - moved[0] == right - left
        assert moved[0] == pytest.approx(left - 100 / across * (right - left), abs=2)
        assert page.position("cursor") == cursor
        page.page.mouse.click(where[0], y)  # without moving: the cursor
        assert page.position("cursor") == pytest.approx(moved[0] + 0.25 * (right - left), abs=whole[1] / 50)
        assert window() == moved
        page.slider("time").press("n")
        stop = page.position("cursor")
        assert window()[0] <= stop <= window()[1]
        assert page.complaints() == []


@pytest.mark.browser
def test_what_is_read_out_is_what_has_changed(browser: Any) -> None:
    with WidgetPage(browser, LockTimeline(contended())) as page:
        page.slider("time").press("ArrowRight")
        assert "CPU2 idle." in page.status()
        assert page.aloud() == "At 200 ns: CPU1 (writer) spinning for device_domain_lock, interrupts off."


WORDS = """(lock) => {
  const found = [], plain = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
    const at = this.getTransform().transformPoint({ x: x - 2, y });
    const ground = [...this.getImageData(at.x, at.y, 1, 1).data], page = getComputedStyle(document.body).backgroundColor;
    found.push([text, this.fillStyle, this.globalAlpha, ground, page.match(/[0-9]+/g).map(Number)]);
    plain.apply(this, arguments);
  };
  window.model.set("lock", lock);
  return new Promise((done) => requestAnimationFrame(() => {
    CanvasRenderingContext2D.prototype.fillText = plain;
    done(found);
  }));
}"""


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_names_are_read_also_where_another_lock_is_chosen(browser: Any, theme: str) -> None:
    with WidgetPage(browser, before_and_after(), theme=theme) as page:
        for lock in (LOCK, "&iommu->lock", ""):
            words = page.page.evaluate(WORDS, lock)
            assert sum(text.isalpha() for text, *_ in words) > 5
            for text, ink, alpha, ground, paper in words:
                below = [
                    alpha_over(value, base, ground[3]) for value, base in zip(ground, paper, strict=False)
                ]
                assert alpha == 1
                assert contrast(ink, "#" + "".join(f"{round(each):02x}" for each in below)) >= 4.5, text


def alpha_over(value: int, base: int, alpha: int) -> float:
    return value * alpha / 255 + base * (1 - alpha / 255)


@pytest.mark.browser
def test_the_lock_that_is_chosen_names_the_span_in_which_it_is_held(browser: Any) -> None:
    with WidgetPage(browser, LockTimeline(two_held())) as page:
        inner = [text.split()[0] for text, *_ in page.page.evaluate(WORDS, "inner") if "work" in text]
        outer = [text.split()[0] for text, *_ in page.page.evaluate(WORDS, "outer") if "work" in text]
    letters = LockTimeline(two_held()).record["letters"]
    assert letters["inner"] in inner
    assert set(outer) == {letters["outer"]}


def two_held() -> Trace:
    """One lock inside another, on one CPU."""
    machine = Machine(cpus=1, costs=IDEAL)
    outer, inner = machine.spinlock("outer"), machine.spinlock("inner")

    async def both() -> None:
        async with outer:
            await machine.work(500)
            async with inner:
                await machine.work(1000)

    machine.spawn(both(), cpu=0, name="work")
    return machine.simulate()
