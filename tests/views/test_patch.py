"""The patch view: source taken apart and put side by side, locks read from a run, the record, the
view in a browser.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.views.widgetpage import WidgetPage
from vtdkit.lab.computer import Computer
from vtdkit.series.catalogue import SERIES, driver_at
from vtdkit.series.mainline import versions as mainline
from vtdkit.series.patch import PatchInfo
from vtdkit.views.patch.code import coloured, side_by_side, words
from vtdkit.views.patch.locks import locks_taken
from vtdkit.views.patch.record import patch_record
from vtdkit.views.patch.still import diff_lines, near_changes
from vtdkit.views.patch.widget import PatchView

EVERY = [*SERIES[1:], *mainline.SERIES[1:]]
DUMP = "domain_translation_struct_show"


def dumped(version: int) -> dict[str, list[tuple[str, str, int]]]:
    """The locks of a run in which debugfs is read after a device was attached."""
    pc = Computer(driver=driver_at(version))
    pc.new_domain(attach="00:03.0")
    pc.run(pc.driver.domain_translation_struct_show())
    return locks_taken(pc.machine.trace())


@pytest.fixture(scope="module")
def view() -> PatchView:
    return PatchView(SERIES[1], before=dumped(0), after=dumped(1))


SOURCES = [
    source for info in EVERY for change in info.changes.values() for source in (change.before, change.after)
]


def test_colouring_loses_no_letter_of_any_source() -> None:
    for source in SOURCES:
        lines = ["".join(text for _, text in line) for line in coloured(source)]
        assert lines == source.rstrip("\n").split("\n") if source else lines == []


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab \"'#\\\n_1(fdef ", max_size=60))
def test_colouring_loses_no_letter_of_anything(source: str) -> None:
    lines = ["".join(text for _, text in line) for line in coloured(source)]
    assert "\n".join(lines) == (source.rstrip("\n") if source else "")


def test_keywords_strings_comments_and_names_that_are_defined_are_told_apart() -> None:
    source = 'async def f(x):\n    """Two\n    lines."""\n    return f"a{x}" + \'\\\'b\'  # not "this"\n'
    comment = [("", "  "), ("c", '# not "this"')]
    assert coloured(source) == [
        [("k", "async"), ("", " "), ("k", "def"), ("", " "), ("d", "f"), ("", "(x):")],
        [("", "    "), ("s", '"""Two')],
        [("s", '    lines."""')],
        [("", "    "), ("k", "return"), ("", " "), ("s", 'f"a{x}"'), ("", " + "), ("s", "'\\'b'"), *comment],
    ]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from("abcd"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=12))
def test_side_by_side_shows_each_line_once_in_order_and_pairs_only_equal_ones_as_same(
    old: list[str], new: list[str]
) -> None:
    rows = side_by_side("\n".join(old), "\n".join(new))
    assert [before for before, _, _ in rows if before >= 0] == list(range(len(old)))
    assert [after for _, after, _ in rows if after >= 0] == list(range(len(new)))
    assert all(old[before] == new[after] for before, after, same in rows if same)
    assert all(max(before, after) >= 0 for before, after, _ in rows)


@pytest.mark.parametrize("info", EVERY, ids=lambda info: info.title)
def test_every_patch_makes_a_record_whose_counts_are_the_diffstat(info: PatchInfo) -> None:
    record = patch_record(info, None, None)
    assert (
        sum(each["added"] for each in record["functions"]),
        sum(each["gone"] for each in record["functions"]),
    ) == info.diffstat
    assert len(record["functions"]) == len(info.changes)
    for each, change in zip(record["functions"], info.changes.values(), strict=True):
        assert each["kind"] == (
            "added" if not change.before else "removed" if not change.after else "changed"
        )
        lines = diff_lines(each)
        assert [text for sign, text in lines if sign in " -"] == change.before.splitlines()
        assert [text for sign, text in lines if sign in " +"] == change.after.splitlines()


@pytest.mark.parametrize("info", EVERY, ids=lambda info: info.title)
def test_every_patch_makes_a_view_of_modest_size(info: PatchInfo) -> None:
    view = PatchView(info)
    assert len(json.dumps(view.record)) < 60_000
    for each in view.record["functions"]:
        view.function = each["name"]
        assert len(view.still().svg) < 30_000
        assert repr(view).startswith(f"<PatchView {view.record['title']}; {each['name']} {each['kind']}, ")


@pytest.mark.parametrize("info", SERIES[1:], ids=lambda info: info.title)
def test_every_patch_of_the_series_names_its_kernel_files(info: PatchInfo) -> None:
    facts = dict(patch_record(info, None, None)["facts"])
    assert re.fullmatch(r"drivers/iommu/intel/\w+\.c((, | and )\w+\.[ch])*", facts["kernel file"])
    assert facts["posted"] == "2022-05-27"


def test_far_from_a_change_lines_are_left_out() -> None:
    lines = [(" ", str(number)) for number in range(20)]
    lines[10] = ("+", "new")
    assert [text for _, text in near_changes(lines, 2)] == ["…", "8", "9", "new", "11", "12", "…"]


def test_locks_belong_to_the_function_in_which_they_were_taken() -> None:
    before, after = dumped(0), dumped(1)
    [(lock, how, held)] = before[DUMP]
    assert (lock, how) == ("device_domain_lock", "interrupts off")
    assert held > 1000
    assert DUMP not in after
    # inside it, the lock of the list of devices
    assert {how for _, how, _ in before["klist_next"]} == {"interrupts off, inside device_domain_lock"}
    assert "__dmar_remove_one_dev_info" in before  # the kernel's name, with both underscores


def test_locks_add_up_to_what_the_lock_statistics_count() -> None:
    pc = Computer(driver=driver_at(0))
    pc.new_domain(attach="00:03.0")
    pc.run(pc.driver.domain_translation_struct_show())
    taken = [each for locks in locks_taken(pc.machine.trace()).values() for each in locks]
    for name in ("device_domain_lock", "&iommu->lock", "&qi->q_lock"):
        events = [
            event
            for event in pc.machine.trace()
            if event.object == name and event.kind in ("acquire", "release")
        ]
        assert sum(lock == name for lock, *_ in taken) * 2 == len(events) > 0
        spans = sum(event.time * (1 if event.kind == "release" else -1) for event in events)
        assert sum(held for lock, _, held in taken if lock == name) == spans


def test_what_happened_before_the_start_is_left_out() -> None:
    pc = Computer(driver=driver_at(0))
    pc.new_domain(attach="00:03.0")
    pc.machine.advance(1)
    start = pc.machine.now
    pc.run(pc.driver.domain_translation_struct_show())
    assert set(locks_taken(pc.machine.trace(), start=start)) == {DUMP, "klist_next"}


def test_locks_are_shown_once_for_each_way_they_were_taken() -> None:
    taken = {DUMP: [("a", "on", 5), ("b", "on", 7), ("a", "on", 9), ("a", "off", 1)]}
    record = patch_record(SERIES[1], taken, None)
    shown = next(each["locks"] for each in record["functions"] if each["name"] == DUMP)
    assert [
        (each["lock"], each["how"], each["times"], each["longest"], each["total"]) for each in shown[0]
    ] == [
        ("a", "on", 2, 9, 14),
        ("b", "on", 1, 7, 7),
        ("a", "off", 1, 1, 1),
    ]
    assert shown[1] == []
    assert record["measured"] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"patch": SERIES[0]}, "is where the series starts and changes nothing; take SERIES[1] or later"),
        (
            {"patch": SERIES[3], "function": "nothing"},
            "does not touch 'nothing'; it touches disable_dmar_iommu",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused_with_its_reason(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        PatchView(**arguments)


def test_a_saved_notebook_gets_the_diff_and_the_locks(view: PatchView) -> None:
    view.function = DUMP
    still = view.still().svg.replace("\N{NO-BREAK SPACE}", " ")
    assert still.count(">− ") == view.chosen["gone"] > 0
    assert still.count(">+ ") == view.chosen["added"] > 0
    for text in (
        "device_domain_lock (interrupts",
        "none in this run",
    ):
        assert text in still


@pytest.mark.browser
def test_keys_choose_the_function_and_the_side(browser: Any, view: PatchView) -> None:
    view.function = view.record["functions"][0]["name"]
    with WidgetPage(browser, view) as page:
        functions = page.root.get_by_role("listbox", name="functions the patch touches")
        functions.press("ArrowDown")
        assert page.position("function") == DUMP
        changed = next(each for each in view.record["functions"] if each["name"] == DUMP)
        lines = f"{changed['added']} lines added, {changed['gone']} removed"
        assert page.status().startswith(
            f"{DUMP}, 2 of 2: changed, {lines}; before and after shown. Locks before: device_"
        )
        chosen = functions.get_by_role("option", selected=True)
        assert chosen.text_content().startswith(
            f"{DUMP}+{changed['added']} lines added −{changed['gone']} removed"
        )
        source = page.root.get_by_role("group", name=f"source of {DUMP}")
        assert "async with self.device_domain_lock.irqsave():" in source.inner_text()
        functions.press("ArrowRight")
        assert page.position("shown") == "after"
        assert "irqsave" not in source.inner_text()
        assert "none in the run that was measured" in page.root.inner_text()
        functions.press("ArrowRight")  # there is nothing further
        functions.press("ArrowLeft")
        functions.press("ArrowLeft")
        assert page.position("shown") == "before"
        page.root.get_by_role("button", name="both").click()
        assert page.position("shown") == "both"
        assert page.complaints() == []


@pytest.mark.browser
@pytest.mark.parametrize("zoom", [1, 2])
def test_text_from_outside_stays_text_and_nothing_is_cut_off(browser: Any, zoom: float) -> None:
    evil = '<img src=x onerror="document.title=1">' + "x" * 120
    taken = {name: [(evil, evil, 5)] for name in SERIES[12].changes}
    shown = PatchView(SERIES[12], before=taken, after=taken)
    with WidgetPage(browser, shown, zoom=zoom, theme="dark") as page:
        assert page.root.locator("img").count() == 0
        assert page.page.title() == "widget"
        assert page.complaints() == []


BROKEN = """(root) => [...root.querySelectorAll("code")].flatMap((code) => {
  const texts = [], walk = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) texts.push(walk.currentNode);
  return texts.flatMap((text) => [...text.data.matchAll(/\\w[^\\W_]*/g)].filter(({ 0: word, index }) => {
    const range = document.createRange();
    range.setStart(text, index);
    range.setEnd(text, index + word.length);
    return new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1;
  }).map(([word]) => word));
})"""


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 900])
def test_no_name_is_broken_in_mid_word_and_a_narrow_page_has_one_column(
    browser: Any, width: int, theme: str
) -> None:
    for number in (4, 12):
        view = PatchView(SERIES[number])
        with WidgetPage(browser, view, width=width, theme=theme) as page:
            for each in view.record["functions"]:
                page.page.evaluate("name => window.model.set('function', name)", each["name"])
                page.page.wait_for_timeout(30)
                assert page.root.evaluate(BROKEN) == []
                both = page.root.locator(".vtd-pv-block > .vtd-pv-row")
                across = {
                    round(line.bounding_box()["x"]) for line in both.locator("> :not(.vtd-pv-empty)").all()
                }
                assert len(across) <= (2 if width > 1000 else 1)
            names = page.root.locator(".vtd-pv-name").all()
            assert all(name.bounding_box()["height"] < 25 for name in names)
            assert page.complaints() == []


@pytest.mark.browser
def test_a_changed_docstring_looks_other_than_changed_code(browser: Any) -> None:
    source = 'def f():\n    """One\n    two."""\n    # three\n    return "four"\n'
    assert words(source) == {1, 2, 3}
    assert words("    def g():\n        return 1\n") == set()
    with WidgetPage(browser, PatchView(SERIES[1], function=DUMP)) as page:
        gone = page.root.locator(".vtd-pv-gone")
        talk = [
            line.inner_text().split("\n")[-1].strip()
            for line in gone.and_(page.root.locator(".vtd-pv-words")).all()
        ]
        assert talk[0].startswith('"""Read the file')
        assert gone.count() > len(talk)
        assert not any("async with" in text for text in talk)
