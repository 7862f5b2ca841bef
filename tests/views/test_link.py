"""Links to one moment: a page's fragment moves one widget, and nothing but what that widget allows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.labdriver import ROOT, Watched
from tests.notebooks.made import code, notebook, save
from tests.views.javascript import call

CACHE = ROOT / "build" / "npm"
NAME = "shared/link.js"
RUN = """from vtdkit.lab.scenarios import SCENARIOS
from vtdkit.lab.steps import record_schedule
from vtdkit.kernel import explore
from vtdkit.series import driver_at
from vtdkit.views import Stepper
scene = SCENARIOS["dump-free"].on(driver_at(1))
Stepper(record_schedule(scene, explore(scene).findings[0].schedule))"""


@pytest.mark.parametrize(
    ("fragment", "found"),
    [
        ("#stepper-2=step:17", {"stepper-2": {"step": "17"}}),
        ("#explorer-1=iova:0x1000,kind:read", {"explorer-1": {"iova": "0x1000", "kind": "read"}}),
        ("#a-1=x:%26%3A&b-1=y:2", {"a-1": {"x": "&:"}, "b-1": {"y": "2"}}),
        ("#a-1=x:%", {"a-1": {"x": ""}}),
        ("#heading", {}),
        ("", {}),
        ("#a-1=x", {"a-1": {}}),
    ],
)
def test_a_fragment_names_widgets_and_values(fragment: str, found: Any) -> None:
    assert call(NAME, "(module, given) => module.fragments(given)", fragment) == found


def test_what_is_written_is_read_again() -> None:
    values = {"step": 17, "lock": "&iommu->lock, a:b", "row": -1}
    text = call(NAME, "(module, given) => module.fragments(module.written('stepper-2', given))", values)
    assert text == {"stepper-2": {name: str(value) for name, value in values.items()}}


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        ("whole(0, 9)", "7", 7),
        ("whole(0, 9)", "12", 9),
        ("whole(0, 9)", "-3", 0),
        ("whole(0, 9)", "1e3", None),
        ("whole(0, 9)", "<b>", None),
        ("number64", "0xfee00000", "0xfee00000"),
        ("number64", "0x" + "f" * 17, None),
        ("number64", "0x1g", None),
        ("oneOf(['a', ''])", "a", "a"),
        ("oneOf(['a', ''])", "", ""),
        ("oneOf(['a', ''])", "b", None),
    ],
)
def test_a_value_that_makes_no_sense_is_none(reader: str, text: str, value: Any) -> None:
    assert call(NAME, f"(module, given) => module.{reader}(given) ?? null", text) == value


@pytest.fixture(scope="module")
def handout(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page with two Steppers of one run."""
    if shutil.which("npm") is None and not any(CACHE.glob("*.tgz")):
        pytest.skip("there is no npm here to fetch the widget manager with (Debian: apt-get install npm)")
    folder = tmp_path_factory.mktemp("links")
    last = RUN.splitlines()[-1]
    save(folder / "01-two.ipynb", notebook(code(RUN), code(last)))
    command = [sys.executable, "-m", "vtdkit", "handouts", "--out", str(folder), "--cache", str(CACHE)]
    done = subprocess.run(
        [*command, str(folder / "01-two.ipynb")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return next(Path(folder).rglob("01-two.html")).as_uri()


def step(watched: Watched, number: int) -> int:
    slider = watched.page.locator("[data-kind=stepper]").nth(number - 1).get_by_role("slider").first
    return int(slider.get_attribute("aria-valuenow"))


@pytest.mark.browser
def test_a_link_opens_the_second_widget_where_it_says(handout: str, browser: Any) -> None:
    with Watched(browser) as watched:
        watched.page.goto(f"{handout}#stepper-2=step:5")
        watched.page.wait_for_function("document.querySelectorAll('[data-kind=stepper]').length === 2")
        watched.page.wait_for_function("document.activeElement.dataset.kind === 'stepper'")
        first, second = step(watched, 1), step(watched, 2)
        assert (second, first != 5) == (5, True)
        # out of range, then nonsense: the last step, then nothing
        watched.page.evaluate("location.hash = '#stepper-1=step:999999,record:x'")
        watched.page.wait_for_function("location.hash.includes('999999')")
        end = watched.page.locator("[data-kind=stepper]").first.get_by_role("slider").first
        assert step(watched, 1) == int(end.get_attribute("aria-valuemax"))
        watched.page.evaluate("location.hash = '#stepper-1=step:<img src=x>'")
        assert step(watched, 1) == int(end.get_attribute("aria-valuemax"))
        assert (watched.page_errors, watched.outside) == ([], [])


@pytest.mark.browser
def test_the_button_makes_a_link_that_opens_the_same_moment(handout: str, browser: Any) -> None:
    with Watched(browser) as watched:
        watched.page.goto(handout)
        stepper = watched.page.locator("[data-kind=stepper]").nth(1)
        stepper.get_by_role("slider").first.press("ArrowRight")
        moved = step(watched, 2)
        stepper.get_by_role("button", name="Copy link").click()
        assert watched.page.url.endswith(f"#stepper-2=step:{moved}")
        address = watched.page.url
        with Watched(browser) as other:
            other.page.goto(address)
            other.page.wait_for_function("document.activeElement.dataset.kind === 'stepper'")
            assert step(other, 2) == moved
