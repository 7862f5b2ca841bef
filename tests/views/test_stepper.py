"""The interleaving stepper: its record, its words (the same in Python and in the browser), still, and keys
in a page.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import traitlets

from tests.lab.test_steps import crossing, dump_unmap
from tests.views.javascript import call
from tests.views.widgetpage import WidgetPage
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.lab.steps.schedule import Steps, record_schedule
from vtdkit.series.catalogue import driver_at
from vtdkit.views.shared.record import checked
from vtdkit.views.stepper.record import columns, says, states, stepper_record
from vtdkit.views.stepper.still import excerpt, rows, stepper_still
from vtdkit.views.stepper.widget import Stepper

MODEL = """(module, { record, steps }) => {
  const run = module.unfold(record);
  const { says, states, nextSwitch, changed, freedBy } = module;
  return steps.map((at) => [
    says(run, at), states(run, at), nextSwitch(run, at, 1), nextSwitch(run, at, -1), changed(run, at), freedBy(run, at).length]);
}"""


@cache
def timer() -> Steps:
    """Three threads, one of them set off by another; findings in the set-up and after."""
    return record_schedule(SCENARIOS["unmap-timer"].on(driver_at(12)), "unmap*5 clock unmap*18")


def deadlock() -> Steps:
    return record_schedule(crossing, "one*2 two*2")


def crowd(machine: Machine) -> Any:
    """Six threads at one lock; the later ones take it more often."""
    lock = machine.spinlock("lock")

    async def take(times: int) -> None:
        for _ in range(times):
            async with lock:
                pass

    for number in range(6):
        machine.spawn(take(number + 1), cpu=number, name=f"thread{number}")
    return lambda: "done"


# -- words --------------------------------------------------------------------


def test_what_is_said_at_each_position() -> None:
    steps = dump_unmap()
    assert says(steps, 0) == f"Step 0 of {len(steps)}. Next: CPU1: unmap will begin."
    assert says(steps, 8) == (
        f"Step 8 of {len(steps)}. CPU1: unmap did: free domain 2 level 1 table. Freed: page domain 2 level "
        "1 table at 0x1008000. From here it must go wrong. Next: CPU0: cat will read "
        "domain 2 level 1 table[0]."
    )
    assert "FOUND: BUG: KASAN: use-after-free: domain 2 level 1 table." in says(steps, 9)
    assert "The end; what came of it: " in says(steps, len(steps))


def test_states_of_threads() -> None:
    assert states(dump_unmap(), 8) == ["moves next", "has ended"]
    ends = deadlock()
    assert states(ends, len(ends)) == ["waits for b, which two has", "waits for a, which one has"]


def test_of_many_threads_those_that_move_most_get_a_column() -> None:
    steps = record_schedule(crowd, cpus=6)
    assert len(steps.threads) == 6
    assert columns(steps) == [2, 3, 4, 5]


@pytest.mark.parametrize("make", [dump_unmap, timer, deadlock])
def test_python_and_the_browser_say_the_same_at_every_position(make: Any) -> None:
    steps = make()
    everywhere = list(range(len(steps) + 1))
    found = call(
        "stepper/stepper_model.js", MODEL, {"record": checked(stepper_record(steps)), "steps": everywhere}
    )
    movers = [step.thread for step in steps.steps]
    for at, (words, up, after, before, changed, freed) in zip(everywhere, found, strict=True):
        assert words == says(steps, at)
        assert up == states(steps, at)
        turns = [i for i in range(1, len(steps)) if movers[i] != movers[i + 1]]
        assert after == next((i for i in turns if i > at), len(steps))
        assert before == next((i for i in reversed(turns) if i < at), 0)
        previous = steps.steps[at - 1].values if at else steps.steps[0].values
        assert changed == [one != other for one, other in zip(steps.steps[at].values, previous, strict=True)]
        assert freed == sum(len(step.freed) for step in steps.steps[: at + 1])


def test_the_record_is_small_and_plain() -> None:
    assert len(json.dumps(checked(stepper_record(dump_unmap())))) < 15_000
    assert len(json.dumps(checked(stepper_record(timer())))) < 80_000


# -- widget, still ------------------------------------------------------------


def test_the_widget_says_where_it_is_and_stays_inside() -> None:
    widget = Stepper(dump_unmap(), step=8)
    assert repr(widget).startswith(
        f"<Stepper dump and unmap. Step 8 of {len(widget.steps)}. CPU1: unmap did: free domain 2 level 1 table."
    )
    widget.step = 99
    assert widget.step == len(widget.steps)
    widget.step = -3
    assert widget.step == 0
    with pytest.raises(traitlets.TraitError):
        widget.step = "x"  # type: ignore[assignment]


def test_the_still_shows_source_memory_and_the_point_of_no_return() -> None:
    text = Stepper(dump_unmap(), step=8).still().svg
    order = f"Schedule: {dump_unmap().schedule}"
    for shown in (
        "0  CPU0: cat",
        "pgtable_walk_level",
        "▶",
        "freed",
        "From here it must go wrong:",
        "step 8; ",
        order,
    ):
        assert shown in text, shown
    assert "use-after-free" not in text  # not yet found at step 8
    assert "use-after-free" in stepper_still(dump_unmap(), 9).svg
    assert len(text) < 20_000


def test_before_the_first_step_nothing_is_given_away() -> None:
    text = Stepper(dump_unmap()).still().svg
    for later in ("must go wrong", "use-after-free", "free domain 2"):
        assert later not in text


def test_the_excerpt_marks_the_current_line() -> None:
    steps = dump_unmap()
    stand = steps.stand(8, 0)
    lines = excerpt(steps.sources[stand.function], stand)
    (current,) = [line for sign, line, _ in lines if sign.strip()]
    assert "load" in current
    assert len(lines) <= 9


def test_hostile_names_are_text() -> None:
    def nasty(machine: Machine) -> Any:
        lock = machine.spinlock("<img src=x>")

        async def take() -> None:
            async with lock:
                pass

        for cpu in (0, 1):
            machine.spawn(take(), cpu=cpu, name="<script>")
        return lambda: "<b>"

    text = Stepper(record_schedule(nasty), step=3).still().svg
    assert "<script" not in text
    assert "<img" not in text
    assert "<b>" not in text


def test_the_list_has_a_row_for_each_step_and_the_finding() -> None:
    text = Stepper(dump_unmap(), step=9).still().svg
    words = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", text))
    assert "8 free domain 2 level 1 table frees page domain 2" in words
    assert "from here it must go wrong" in words
    assert "◆ BUG: KASAN" in words


@pytest.mark.parametrize("make", [dump_unmap, timer, deadlock])
def test_rows_of_the_list_keep_what_happens_and_draw_the_rest_together(make: Any) -> None:
    steps = make()
    shown = rows(steps, len(steps))
    assert len(shown) <= 40
    numbers = [int(row[0]) for row in shown]
    assert numbers == sorted(set(numbers))
    assert {found.step for found in steps.findings if found.step} <= {
        int(row[0]) for row in shown if "◆" in row[-1]
    }
    assert steps.inevitable in numbers
    kept = {int(row[0]) for row in shown if not any(text.startswith("…") for text in row)}
    assert all(
        number in kept for number in range(numbers[0] + 1, numbers[-1] + 1) if steps.steps[number].freed
    )


def test_uneventful_steps_of_one_thread_are_one_row() -> None:
    shown = rows(timer(), 66)
    (long,) = [row for row in shown if row[0] == "48"]
    assert long[1] == "… 41 steps …"


# -- in a page ----------------------------------------------------------------


@pytest.mark.browser
def test_arrow_keys_step_and_the_current_line_is_lit(browser: Any) -> None:
    steps = dump_unmap()
    with WidgetPage(browser, Stepper(steps)) as page:
        ribbon = page.slider("step")
        assert page.status() == says(steps, 0)
        ribbon.press("ArrowRight")
        assert page.position("step") == 1
        ribbon.press("End")
        for _ in range(len(steps) - 8):
            ribbon.press("ArrowLeft")
        assert page.status() == says(steps, 8)
        assert ribbon.get_attribute("aria-valuetext") == f"step 8 of {len(steps)}"
        assert "CPU0: cat will" in page.aloud()
        column = page.root.get_by_role("region", name="CPU0: cat", exact=True)
        current = column.locator("[aria-current=step]")
        assert "load" in current.inner_text()
        assert current.inner_text().startswith("▶")
        assert "moves next" in column.inner_text()
        assert page.complaints() == []


@pytest.mark.browser
def test_keys_for_switches_findings_and_the_point_of_no_return(browser: Any) -> None:
    with WidgetPage(browser, Stepper(dump_unmap())) as page:
        ribbon = page.slider("step")
        ribbon.press("Shift+ArrowRight")
        assert page.position("step") == 2
        ribbon.press("i")
        assert page.position("step") == 8
        assert (
            "Since step 8 it must go wrong" in page.root.get_by_role("region", name="Findings").inner_text()
        )
        ribbon.press("f")
        assert page.position("step") == 9
        assert (
            "step 9: BUG: KASAN: use-after-free"
            in page.root.get_by_role("region", name="Findings").inner_text()
        )
        assert (
            "step 8: page domain 2 level 1 table"
            in page.root.get_by_role("region", name="Freed so far").inner_text()
        )
        ribbon.press("Shift+ArrowLeft")
        ribbon.press("Home")
        assert page.position("step") == 0
        page.root.get_by_role("button", name="Must go wrong").click()
        assert page.position("step") == 8
        assert page.complaints() == []


@pytest.mark.browser
def test_shared_memory_says_who_changed_it(browser: Any) -> None:
    with WidgetPage(browser, Stepper(dump_unmap(), step=7)) as page:
        table = page.root.get_by_role("region", name="Shared memory").inner_text()
        assert "changed by CPU1: unmap, was 0x1008003" in table


@pytest.mark.browser
def test_who_has_each_lock_and_who_waits_and_how_far_the_finding_is(browser: Any) -> None:
    with WidgetPage(browser, Stepper(deadlock())) as page:
        ribbon = page.slider("step")
        locks, found = (page.root.get_by_role("region", name=name) for name in ("Locks", "Findings"))
        seen = []
        for _ in range(5):
            seen.append((locks.inner_text().split("\n")[1:], found.inner_text().split("\n")[-1]))
            ribbon.press("ArrowRight")
        assert seen[0] == (["a free", "b free"], "none so far; the first in 4 steps")
        assert seen[3][1] == "none so far; the first in 1 step"
        assert seen[4][0] == [
            "a CPU0: one has it",
            "CPU1: two waits",
            "b CPU1: two has it",
            "CPU0: one waits",
        ]
        assert page.complaints() == []


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 900])
def test_three_threads_stand_beside_each_other_on_one_screen(browser: Any, width: int, theme: str) -> None:
    with WidgetPage(browser, Stepper(timer()), theme=theme, width=width) as page:
        for key in ("Home", "i", "f", "End"):
            page.slider("step").press(key)
            assert page.root.bounding_box()["height"] <= 620
            columns = page.root.locator(".vtd-stepper-column").all()
            assert len({column.bounding_box()["y"] for column in columns}) == 1
            for line in page.root.locator("[aria-current=step]").all():
                outer, inner = line.locator("xpath=..").bounding_box(), line.bounding_box()
                assert outer["y"] <= inner["y"]
                assert inner["y"] + inner["height"] <= outer["y"] + outer["height"]
                assert line.evaluate("node => node.scrollWidth <= node.clientWidth")
        assert page.complaints() == []


@pytest.mark.browser
def test_python_hears_of_the_step(browser: Any) -> None:
    widget = Stepper(dump_unmap())
    with WidgetPage(browser, widget, kernel=True) as page:
        page.slider("step").press("ArrowRight")
        for _ in range(100):
            if widget.step:
                break
            page.page.wait_for_timeout(50)
        assert widget.step == 1


@pytest.mark.browser
def test_a_report_that_was_unfolded_stays_so_while_one_steps(browser: Any) -> None:
    with WidgetPage(browser, Stepper(timer(), step=1)) as page:
        report = page.root.locator(".vtd-stepper-report", has_text="in the set-up")
        assert report.get_attribute("open") is None
        report.locator("summary").click()
        page.slider("step").press("ArrowRight")
        assert page.position("step") == 2
        assert report.get_attribute("open") == ""


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_at_double_size_nothing_is_wider_than_the_page(browser: Any, theme: str) -> None:
    with WidgetPage(browser, Stepper(timer(), step=30), theme=theme, zoom=2) as page:
        assert page.complaints() == []


@pytest.mark.browser
def test_a_number_in_memory_is_on_one_line(browser: Any) -> None:
    with WidgetPage(browser, Stepper(dump_unmap()), width=900) as page:
        boxes = page.root.locator(".vtd-stepper-beside td .vtd-mono").all()
        assert [box.inner_text() for box in boxes] == ["0x1008003", "0x5001003"]
        assert all(box.bounding_box()["height"] < 25 for box in boxes)


@pytest.mark.browser
def test_long_names_and_an_early_mark_stay_beside_the_ribbon(browser: Any) -> None:
    steps = replace(dump_unmap(), threads=("CPU0: promote 0x0 (0x200000 bytes)", "CPU1: unmap"), inevitable=0)
    near = replace(steps.findings[0], step=2)
    with WidgetPage(browser, Stepper(replace(steps, findings=(near,)))) as page:
        box = page.root.locator(".vtd-stepper-ribbon svg").bounding_box()
        names = page.root.locator(".vtd-stepper-who").all()
        assert [name.text_content()[-1] for name in names] == ["…", "p"]
        assert all(name.bounding_box()["x"] + name.bounding_box()["width"] < box["x"] + 150 for name in names)
        mark = page.root.locator(".vtd-stepper-small").bounding_box()
        assert mark["x"] >= box["x"]
