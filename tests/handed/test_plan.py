"""The ninety minutes of `TEACHING.md`, walked through: its minutes, the sections it names, that what is told
aloud fits into them; and each thing that is asked of students, done in a handout and in JupyterLab.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lessons import lesson01
from tests.handed.building import handouts
from tests.notebooks.labdriver import ROOT, LabPage, Watched, lab_server
from tests.notebooks.nbchecks import source

FIRST, SECOND = (ROOT / "notebooks" / f"{name}.ipynb" for name in ("00-start-here", "01-the-debugfs-dump"))
ALOUD = 130  # words a minute, of somebody who reads to others
RUN = 0.25  # minutes until a room has seen what a cell shows
HANDS = 1  # minutes for a prediction by show of hands

#: of each row of the plan that goes through a lesson: its minutes, the lesson, the sections from … to
READ = (
    ("5–18", FIRST, "", "See it happen"),
    ("23–30", FIRST, "Remembering: the IOTLB", "Remembering: the IOTLB"),
    ("30–39", FIRST, "The same, built by our driver", "Why locks, and why they hurt"),
    ("39–55", SECOND, "", "Run again, same seed"),
    ("55–70", SECOND, "What could now go wrong", "What could now go wrong"),
)


def plan() -> dict[str, str]:
    """The rows of the plan: minutes, and what is done in them."""
    text = (ROOT / "notebooks" / "TEACHING.md").read_text(encoding="utf-8")
    text = text.split("## Ninety minutes")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| (\d+–\d+) \| (.*) \|$", text, re.M))


def sections(path: Path, slides: bool = True) -> dict[str, float]:
    """How many minutes each section of a lesson takes, "" for its beginning; with `slides` what a walkthrough
    shows of it.
    """
    found, name = {"": 0.0}, ""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text, told = source(cell), cell["cell_type"] == "markdown"
        if told and (match := re.match(r"## (.+)", text)):
            name = match[1]
        shown = not slides or {"walk", "walk-on"} & set(cell["metadata"].get("tags", []))
        minutes = len(re.findall(r"\w+", text)) / ALOUD if told else RUN + HANDS * ("predict(" in text)
        found[name] = found.get(name, 0) + minutes * bool(shown)
    return found


def test_the_minutes_join_up_to_ninety() -> None:
    ends = [tuple(map(int, minutes.split("–"))) for minutes in plan()]
    assert (ends[0][0], ends[-1][1]) == (0, 90)
    assert all(one[1] == other[0] for one, other in pairwise(ends))


@pytest.mark.parametrize(("minutes", "lesson", "first", "last"), READ, ids=[row[0] for row in READ])
def test_what_is_told_aloud_fits_into_its_minutes(minutes: str, lesson: Path, first: str, last: str) -> None:
    begin, end = map(int, minutes.split("–"))
    found = sections(lesson, "slides" in plan()[minutes])
    names = list(found)
    assert sum(found[name] for name in names[names.index(first) : names.index(last) + 1]) <= end - begin


def test_the_plan_names_sections_and_exercises_that_there_are() -> None:
    text = "\n".join(plan().values())
    headings = [name for lesson in (FIRST, SECOND) for name in sections(lesson)]
    for name in re.findall(r'"([^"]+)"', text):
        assert any(heading.startswith(name) for heading in headings), name
    assert re.findall(r"Exercise \*(.+?)\*", text) == [lesson01.KEEP_IT_ALIVE.name]


# -- what students are asked to do ---------------------------------------------


def said(widget: Any) -> str:
    return str(widget.locator(".vtd-status").text_content())


def find_where_walks_part(page: Any) -> None:
    """18–23: press *mapped ▸*; which table, and which page may not be written?"""
    widget = page.locator("[data-kind=explorer]")
    levels = widget.locator(".vtd-body").get_by_text(re.compile(r"^level \d: entry \d+$"))
    assert said(widget).startswith("00:03.0 reads 0xbf73_e000 → memory")
    before = levels.all_inner_texts()
    widget.get_by_role("button", name="mapped ▸").click()
    assert said(widget).startswith("00:03.0 reads 0xff94_d000 → memory")
    parted = [one[:7] for one, other in zip(before, levels.all_inner_texts(), strict=True) if one != other]
    assert parted[0] == "level 3"
    widget.get_by_role("button", name="write", exact=True).click()
    assert "writes to 0xff94_d000: refused" in said(widget)
    widget.get_by_role("button", name="◂ mapped").click()
    assert "writes to 0xbf73_e000 → memory" in said(widget)


def find_why_it_is_stale(page: Any) -> None:
    """23–30: why is 0xbf73f000 refused and yet stale?"""
    widget = page.locator("[data-kind=explorer]")
    widget.get_by_role("button", name="read", exact=True).click()
    field = widget.get_by_role("textbox", name="DMA address")
    field.fill("0xbf73f000")
    field.press("Enter")
    assert "refused" in said(widget)
    assert "Stale: the IOTLB remembers an older answer" in said(widget)


def see_four_cpus_at_one_lock(page: Any) -> None:
    """30–39: three of them spin."""
    widget = page.locator("[data-kind=timeline]").first
    assert "CPU2 (worker 2) and CPU3 (worker 3) spinning for the lock" in said(widget)


def go_to_the_finding_and_back(page: Any) -> None:
    """55–70: from the step from which it must go wrong to the finding, and back."""
    widget = page.locator("[data-kind=stepper]")
    step = widget.get_by_role("slider", name="step")
    assert "From here it must go wrong." in said(widget)
    start = step.get_attribute("aria-valuenow")
    widget.locator(".vtd-title").click()
    while "use-after-free" not in said(widget):
        before = step.get_attribute("aria-valuenow")
        page.keyboard.press("ArrowRight")
        assert step.get_attribute("aria-valuenow") != before
    widget.get_by_role("button", name="Must go wrong").click()
    assert step.get_attribute("aria-valuenow") == start


ASKED = {
    FIRST: (find_where_walks_part, find_why_it_is_stale, see_four_cpus_at_one_lock),
    SECOND: (go_to_the_finding_and_back,),
}


@pytest.fixture(scope="module")
def student(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handouts(tmp_path_factory.mktemp("handouts"), list(ASKED))


@pytest.fixture(scope="module")
def lab(browser: Any) -> Iterator[Any]:
    with lab_server(ROOT) as server:
        yield server


@pytest.mark.browser
@pytest.mark.parametrize("lesson", ASKED, ids=lambda lesson: lesson.stem)
def test_each_step_can_be_done_in_a_handout(browser: Any, student: Path, lesson: Path) -> None:
    with Watched(browser) as watched:
        watched.page.goto((student / f"{lesson.stem}.html").as_uri())
        for ask in ASKED[lesson]:
            ask(watched.page)
        assert (watched.outside, watched.page_errors) == ([], [])


@pytest.mark.browser
@pytest.mark.parametrize("lesson", ASKED, ids=lambda lesson: lesson.stem)
def test_each_step_can_be_done_in_jupyterlab(browser: Any, lab: Any, lesson: Path) -> None:
    with LabPage(browser, lab) as page:
        page.open(lesson.relative_to(ROOT).as_posix())
        page.run_all()
        for ask in ASKED[lesson]:
            ask(page.page)
        assert (page.errors(), page.page_errors) == ([], [])
