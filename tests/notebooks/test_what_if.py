"""Knobs: the lessons' own turn, show something for every choice, and answer the question the lesson asks."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ipywidgets import HTML, Dropdown

from lessons import lesson07
from lessons.whatif import WhatIf, what_if
from tests.notebooks.cells import DEFINES, NOTEBOOKS, scenes
from tests.notebooks.nbchecks import source, tags
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

LESSONS = sorted(path.name[:2] for path in NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))
#: what names a version and runs nothing: "old = driver_at(0)"
CHEAP = re.compile(r"^[\w.]+ = (driver_at|mainline|variants)\b[\w.()]*$")


def _cheap(statement: ast.stmt) -> bool:
    return isinstance(statement, DEFINES) or CHEAP.match(ast.unparse(statement)) is not None


@cache
def knobs_of(number: str) -> WhatIf:
    """The knobs of a lesson: its imports, its versions, its definitions, then the cell that is tagged."""
    path = next(NOTEBOOKS.glob(f"{number}-*.ipynb"))
    names: dict[str, Any] = {}
    for cell in json.loads(Path(path).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse(source(cell))
        if "what-if" in tags(cell):
            *body, last = tree.body
            exec(compile(ast.Module(body, []), path.name, "exec"), names)
            assert isinstance(last, ast.Expr)
            found = eval(compile(ast.Expression(last.value), path.name, "eval"), names)
            assert isinstance(found, WhatIf)
            return found
        cheap = [statement for statement in tree.body if _cheap(statement)]
        exec(compile(ast.Module(cheap, []), path.name, "exec"), names)
    raise LookupError(f"lesson {number} has no knobs")


def shown(number: str, **choices: Any) -> list[Any]:
    """What is seen below the knobs of a lesson at these choices, each given as its label says it."""
    page = knobs_of(number)
    for name, label in choices.items():
        page.knobs[name].label = label
    page.turned()
    return [each.value if isinstance(each, HTML) else each for each in page.below.children]


@pytest.mark.parametrize("number", LESSONS)
def test_each_knob_of_a_lesson_turns_and_shows_no_error(number: str) -> None:
    page = knobs_of(number)
    assert 2 <= len(page.knobs) <= 4
    begun = {name: knob.label for name, knob in page.knobs.items()}
    for name, knob in page.knobs.items():
        labels = [label for label, _ in knob.options]
        assert begun[name] in labels
        for label in (labels[0], labels[-1]):
            text = " ".join(map(str, shown(number, **{name: label})))
            assert "Error" not in text, (name, label)
        knob.label = begun[name]


def test_the_start_is_the_function_s_own_and_the_text_says_so() -> None:
    page = what_if(lambda cpus=2, lazy=False: f"{cpus} {lazy}", cpus=[1, 2, 1_000], lazy=[False, True])
    assert repr(page) == "<what if: cpus 2, lazy no>"
    bundle = page._repr_mimebundle_()
    assert bundle["text/plain"] == repr(page)
    assert bundle["text/html"] == (
        "<p>Knobs for cpus and lazy. They need a kernel: run this cell in JupyterLab.</p>"
    )
    assert [each.value for each in page.below.children] == ["<pre>2 False</pre>"]
    page.knobs["cpus"].label = "1,000"
    assert [each.value for each in page.below.children] == ["<pre>1000 False</pre>"]
    assert all(isinstance(knob, Dropdown) and knob.description for knob in page.knobs.values())


def test_an_error_of_a_changed_scene_is_told_and_escaped() -> None:
    def broken(cpus: int = 1) -> None:
        raise ValueError("<b>" + "x" * 200)

    page = what_if(broken, cpus=[1, 2])
    page.turned()
    (told,) = page.below.children
    assert told.value.startswith("<pre>ValueError: &lt;b&gt;xxx")
    assert len(told.value) < 120


# -- the answers (TEACHING.md has them in words) ------------------------------


def test_00_coming_as_far_apart_as_one_works_is_not_enough() -> None:
    for apart, waits in ((1_000, 3), (1_100, 0)):
        trace = scenes("00").at_one_lock(4, 1_000, apart)
        assert sum(span.state == "spinning" for span in trace.spans()) == waits


def test_01_with_256_pages_the_file_is_printed_before_the_unmap_begins() -> None:
    run = scenes("01").dump_scene(driver_at(0), 256)
    assert run.held("device_domain_lock", "cat") == 160_290
    assert run.waited("unmap") == run.waited("attach") == 0
    assert run.took("cat") < 350_000
    assert scenes("01").dump_scene(driver_at(0), 512).waited("unmap") > 0


def test_02_the_three_devices_of_the_scene_are_searched_too() -> None:
    old, new = (scenes("02").attach_scene(driver_at(version), 0).length for version in (1, 2))
    assert old == new + 605
    assert scenes("02").attach_scene(driver_at(1), 128).length == pytest.approx(2 * new, rel=0.01)


def test_03_from_two_devices_on_and_the_same_for_each_further_one() -> None:
    waits = [scenes("03").removal_scene(driver_at(2), devices).waited("unmap") for devices in range(5)]
    assert waits == [0, 0, 1_465, 2_360, 3_255]


def test_04_before_the_attach_has_the_lock_and_after_it() -> None:
    scene = scenes("04").plug_scene
    waits = [scene(driver_at(3), begins).waited("plug") for begins in (0, 500, 1_500, 2_000, 4_000)]
    assert [bool(each) for each in waits] == [False, True, True, False, False]


def test_05_the_seventeenth_bus_is_the_first_that_the_timer_notices() -> None:
    late = [shown("05", buses=buses)[1] for buses in ("1", "16", "17")]
    assert late == [f"<pre>the timer comes late by {ns} ns</pre>" for ns in (250, 250, 295)]


def test_06_the_queue_is_shorter_after_11_and_gone_after_12() -> None:
    runs = [scenes("06").attach_scene(driver_at(version)) for version in (5, 6, 9, 11, 12)]
    waits = [[run.waited(name, "device_domain_lock") for name in ("first", "second")] for run in runs]
    assert waits == [[4_225, 3_415]] * 3 + [[0, 1_400], [0, 0]]


def test_07_the_merged_version_spins_with_interrupts_on() -> None:
    scene = scenes("07")
    versions = (driver_at(6), driver_at(7), mainline.driver_at(7))
    runs = [scene.attach_scene(driver, lesson07.CACHING, 4) for driver in versions]
    assert [run.irqs_off() for run in runs] == [9_105, 8_055, 3_145]
    assert runs[1].waited("fourth") == runs[2].waited("fourth")


def test_08_it_hangs_while_cat_has_the_lock_and_the_attach_wants_it() -> None:
    hangs = [
        "LOCKUP" in shown("08", version="patch 08", cat_begins="2,000", interrupt=moment)[1]
        for moment in ("1,000", "2,000", "3,000", "4,000", "5,000")
    ]
    assert hangs == [False, False, True, True, False]


def test_09_each_forgotten_device_costs_the_neighbour_the_same() -> None:
    waits = [scenes("09").free_scene(driver_at(8), devices).waited("unmap") for devices in (1, 2, 3, 4)]
    assert {after - before for before, after in pairwise(waits)} == {2_890}


def test_10_scalable_mode_without_ats_gains_most() -> None:
    gains = {}
    for kind in ((False, False), (False, True), (True, False), (True, True)):
        old, new = (scenes("10").detach_scene(driver_at(version), *kind) for version in (9, 11))
        gains[kind] = old.irqs_off("detach") / new.irqs_off("detach")
    assert max(gains, key=lambda kind: gains[kind]) == (True, False)


def test_11_with_two_sockets_the_wait_has_moved() -> None:
    waits = [scenes("11").attach_scene(driver_at(11), 2, begins).waited("attach") for begins in (600, 900)]
    assert waits == [0, 1_505]


def test_12_units_alone_do_nothing_domains_alone_a_little_both_halve_it() -> None:
    neighbours = scenes("12").neighbours
    one, units, domains, both = (
        neighbours(driver_at(12), 8, *each).length for each in ((1, 1), (2, 1), (1, 2), (2, 2))
    )
    assert units == one
    assert 0.95 < domains / one < 0.97
    assert both / one < 0.51


def test_13_two_mebibytes_apart_nothing_can_be_lost() -> None:
    careless = "look first, write then"
    lost = [">nothing<" in shown("13", tables=careless, apart=far)[0] for far in ("4 KiB", "1 MiB", "2 MiB")]
    assert lost == [True, True, False]


def test_15_the_third_page_alone_and_intel_s_goes_astray_in_a_block() -> None:
    gone = {
        page: shown("15", table="AMD", mapped="12 KiB", page=page)[0] for page in ("first", "second", "third")
    }
    assert ["gone 4K" in gone[page] for page in gone] == [False, False, True]
    astray = [
        (mapped, page)
        for mapped in ("64 KiB", "1 MiB", "2 MiB")
        for page in ("first", "second")
        if "follows the block" in shown("15", table="Intel", mapped=mapped, page=page)[0]
    ]
    assert astray == [("2 MiB", "second")]


def test_14_eight_units_are_worth_a_quarter_to_the_old_driver_and_eight_times_to_the_new() -> None:
    figures = {}
    for units in ("1", "8"):
        cells = re.findall(r">([\d,]+)</td>", shown("14", cpus="16", units=units)[0])
        figures[units] = [int(cell.replace(",", "")) for cell in cells]
    gains = [after / before for before, after in zip(figures["1"], figures["8"], strict=True)]
    assert 1.2 < gains[0] < 1.35
    assert gains[1] > 7.9


def test_20_the_mask_fits_where_the_first_page_is_a_multiple_of_its_size() -> None:
    def fits(count: str) -> list[str]:
        firsts = [f"0x{first:x}" for first in range(0x40, 0x48)]
        return [
            first for first in firsts if "none is reached" in str(shown("20", first=first, count=count)[0])
        ]

    assert fits("8") == ["0x40"]
    assert fits("4") == ["0x40", "0x44"]


def test_18_from_33_pages_on_and_in_strict_mode_nobody_notices() -> None:
    traffic = scenes("18").traffic
    lazy = [traffic("magazines", pages=pages).length for pages in (1, 32, 33, 64)]
    strict = [traffic("magazines", lazy=False, pages=pages).length for pages in (1, 32, 33, 64)]
    assert max(lazy[:2]) * 1.5 < min(lazy[2:])
    assert max(strict) < 1.1 * min(strict)


def test_16_a_grace_period_waits_for_who_reads() -> None:
    most = [
        re.findall(r">([\d,]+)</td>", shown("16", prints=prints, grace="10 µs")[0])[1]
        for prints in ("16", "512")
    ]
    assert most == ["23", "145"]


def test_17_chunks_of_one_mib_that_end_inside_large_pages_from_16_cpus_on() -> None:
    tables = {
        (cpus, chunk, border): shown("17", cpus=cpus, chunk=chunk, border=border)[0]
        for cpus, chunk, border in (
            ("4", "1 MiB", "4 KiB"),
            ("16", "1 MiB", "2 MiB"),
            ("16", "1 MiB", "4 KiB"),
            ("16", "4 MiB", "4 KiB"),
            ("32", "1 MiB", "4 KiB"),
        )
    }
    many = {key for key, text in tables.items() if "tables: 33<" in text}
    assert many == {("16", "1 MiB", "4 KiB"), ("32", "1 MiB", "4 KiB")}
    assert all("tables: 1<" in text for key, text in tables.items() if key not in many)


def test_19_a_pause_longer_than_it_takes_to_wake_lets_others_in() -> None:
    beside = scenes("19").beside
    longest = [beside("area by area", areas=64, pause=pause).longest for pause in (0, 1_000, 2_000, 5_000)]
    assert [each > 300_000 for each in longest] == [True, True, True, False]
