"""Lesson 16: readers of tables that others free: what the notebook shows, and its exercises."""

from __future__ import annotations

import json
import linecache
import re
from functools import partial
from pathlib import Path

import pytest

from lessons import lesson16 as lesson
from lessons.experiments.readers import exposed, held_back
from lessons.scenes.readers import HOLES, dump_reuse
from lessons.variants import readers as ways
from lessons.variants.tables import flush_before_free
from tests.notebooks.cells import scenes
from vtdkit.kernel.explored.exploring import explore
from vtdkit.series.catalogue import driver_at

DRIVER = driver_at(1)
PATIENT = ways.free_after_grace_period(DRIVER)


def ended(driver: type) -> dict[str, int]:
    scene = scenes("16").into_a_file
    found = explore(lambda machine: scene(driver, machine))
    assert found.complete
    return dict(found.outcomes)


@pytest.mark.parametrize(
    ("driver", "ends"),
    [
        (DRIVER, {"oops": 13, "prints nothing": 6, "prints the page": 4}),
        (ways.ask_memory_map(DRIVER, HOLES), {"oops": 13, "prints nothing": 6, "prints the page": 4}),
        (
            ways.ask_memory_map(DRIVER, HOLES, True),
            {"prints nothing": 12, "prints the page": 8, "prints what was never an entry": 3},
        ),
        (PATIENT, {"prints nothing": 2, "prints the page": 2}),
    ],
    ids=["no test", "pfn_valid", "mapped", "RCU"],
)
def test_how_the_reader_of_the_scene_ends(driver: type, ends: dict[str, int]) -> None:
    assert ended(driver) == ends


def test_a_reader_that_all_ones_keeps_from_following_is_still_fooled_by_what_looks_right() -> None:
    far = explore(partial(dump_reuse, ways.all_ones(DRIVER)))  # bits above the machine's address width
    near = explore(partial(dump_reuse, ways.all_ones(DRIVER), leads_to=0x123000))
    told = "prints what was never an entry"
    assert (far.outcomes.get(told, 0), near.outcomes.get(told, 0)) == (0, 3)


def test_the_step_from_which_it_goes_wrong_is_the_files_word() -> None:
    scene = partial(scenes("16").into_a_file, DRIVER)
    steps = lesson.into(scene, explore(scene), "oops")
    assert steps.inevitable == 17
    with pytest.raises(LookupError, match="no execution ended"):
        lesson.into(scene, explore(scene), "prints a poem")


def test_a_full_table_is_read_for_long_with_nobody_holding_the_reader_up() -> None:
    assert [exposed(DRIVER, leaves) for leaves in (1, 512)] == [600, 512 * 600]
    assert exposed(DRIVER, held_up=5_000) == 312_200


def test_what_is_printed_may_be_out_of_date_but_with_rcu_nobody_elses() -> None:
    assert lesson.stale(DRIVER) == (18, True)
    assert lesson.stale(PATIENT) == (18, False)
    assert lesson.stale(ways.rwsem(DRIVER)) == (0, False)


def test_what_waiting_costs_and_whom() -> None:
    runs = {
        name: held_back(driver, cpus=2, pairs=100, leaves=512, grace_period=100_000)
        for name, driver in {"now": DRIVER, "rwsem": ways.rwsem(DRIVER), "rcu": PATIENT}.items()
    }
    assert (runs["now"].peak, runs["rwsem"].peak) == (0, 0)
    assert runs["rwsem"].ns > 2 * runs["now"].ns
    assert runs["now"].ns <= runs["rcu"].ns < 1.1 * runs["now"].ns
    assert runs["rcu"].peak > 100
    quiet = [held_back(driver, cpus=2, pairs=50, tables=0, leaves=8).ns for driver in (DRIVER, PATIENT)]
    assert quiet[0] == quiet[1]


def test_every_claim_of_the_lesson_is_shown_in_it() -> None:
    (path,) = (Path(__file__).resolve().parents[2] / "notebooks").glob("16-*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    numbers = [each.number for each in lesson.CLAIMS]
    assert [number for number in numbers if not re.search(rf"laim {number}\b", text)] == []


def test_rcu_has_to_cover_the_table_under_a_large_page_too() -> None:
    scene = lesson.SCENARIOS["dump-unmap"].build
    complete = ways.free_after_grace_period(flush_before_free(DRIVER))
    assert repr(lesson.tried(scene, complete)) == "0 of 4"


@pytest.mark.parametrize("seed", range(4))
def test_passes_and_cannot_be_read(seed: int) -> None:
    exercise = lesson.PASSES.seeded(seed)
    _, end, _, size = lesson.memory_of(seed)
    rest = -end % 128
    assert exercise.check(size + rest)
    for wrong, why in ((size, "RAM does not end"), (rest, "the hole is in a section"), (size + rest + 1, "")):
        said = exercise.check(wrong)
        assert not said
        assert why in repr(said)


FORMS = {
    "a copy by slicing": """
async def put_pages_list(self, freelist):
    taken = freelist[:]
    del freelist[:]
    if taken:
        self.waiting += len(taken)
        async def later():
            while taken:
                await self.free_pgtable_page(taken.pop())
                self.waiting -= 1
        self.machine.rcu.call(later)
""",
}
WRONG = {
    "at once": "await super(type(self), self).put_pages_list(freelist)",
    "a callback for each": """for page in freelist:
        self.waiting += 1
        self.machine.rcu.free_page_rcu(page)
    freelist.clear()""",
}


def made(text: str) -> object:
    name = f"<answer {hash(text)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    names: dict[str, object] = {}
    exec(compile(text, name, "exec"), names)
    return names["put_pages_list"]


@pytest.mark.parametrize("form", FORMS)
def test_free_later_in_another_form(form: str) -> None:
    assert lesson.FREE_LATER.seeded(0).check(made(FORMS[form]))


@pytest.mark.parametrize("form", WRONG)
def test_free_later_refuses(form: str) -> None:
    text = f"async def put_pages_list(self, freelist):\n    {WRONG[form]}\n"
    assert not lesson.FREE_LATER.seeded(0).check(made(text))
