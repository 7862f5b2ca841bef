"""The page-table explorer: what it takes, its still, two records side by side, the
explorer in a browser.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from traitlets import TraitError

from tests.views.widgetpage import WidgetPage
from vtdkit.lab.computer import BOTH_STAGES, Computer
from vtdkit.views.pagetables.layout import strips
from vtdkit.views.pagetables.widget import PageTableExplorer
from vtdkit.views.shared.palette import HUES
from vtdkit.vtd.image.image import Image
from vtdkit.vtd.requests import Fault, Translation

REALITY = Path(__file__).resolve().parents[1] / "reality"
CARD = "00:02.0"


@pytest.fixture(scope="module")
def image() -> Image:
    return Image.load(REALITY / "superpage_1g-s0-quiet")


def mapped() -> tuple[Computer, Any]:
    pc = Computer()
    domain = pc.new_domain(attach="00:03.0")
    assert pc.map(domain, 0x10000, 0x5000000, 4 * 4096) == 0
    return pc, domain


def pair() -> PageTableExplorer:
    """Before and after one of four pages is unmapped."""
    pc, domain = mapped()
    before = PageTableExplorer(pc, "00:03.0", iova=0x11000)
    assert pc.unmap(domain, 0x11000, 4096) == 4096
    return PageTableExplorer(pc, "00:03.0", beside=before)


def test_a_unit_an_image_a_computer_and_its_hardware_show_the_same_tables(image: Image) -> None:
    pc, _ = mapped()
    hardware = pc.hardware[0]
    texts = {repr(PageTableExplorer(each, "00:03.0", iova=0x10000)) for each in (pc, hardware, hardware.unit)}
    assert texts == {
        "<PageTableExplorer ✓ 00:03.0 reads 0x10000: memory 0x5000000, 4K page, read and write.>"
    }
    assert isinstance(PageTableExplorer(image, CARD, iova=0xFFE78000).walks[-1].answer, Translation)
    with pytest.raises(
        TypeError, match="cannot explore a str; give a RemappingUnit, an Image, a Computer or its hardware"
    ):
        PageTableExplorer("tests/reality")  # type: ignore[arg-type]


def test_without_a_device_or_an_address_it_begins_where_something_is_mapped(image: Image) -> None:
    shown = PageTableExplorer(image)
    assert isinstance(shown.walks[-1].answer, Translation)
    assert shown.iova == shown.record["sides"][0]["ranges"][0][0]


def test_looking_changes_nothing_and_later_changes_do_not_show() -> None:
    pc, domain = mapped()
    events, log = len(pc.machine.trace()), list(pc.driver.log)
    shown = PageTableExplorer(pc, "00:03.0", iova=0x10000)
    shown.kind = "write"
    shown.still()
    assert (len(pc.machine.trace()), list(pc.driver.log)) == (events, log)
    text = repr(shown)
    pc.unmap(domain, 0x10000, 4096)
    assert repr(shown) == text
    assert isinstance(PageTableExplorer(pc, "00:03.0", iova=0x10000).walks[-1].answer, Fault)


def test_a_still_has_the_walk_the_answer_and_for_two_sides_both() -> None:
    still = pair().still().svg
    assert still.count(">what it says<") == 2
    for text in (
        "before",
        "after",
        "level 4",
        "maps 0x1000 bytes at 0x5001000",
        "refused, fault code 6h (LGN.3: no read permission)",
        "✗ entry 17",
    ):
        assert text in still
    assert len(still) < 20_000


def test_a_still_has_a_strip_for_each_table_with_the_entry_in_use_marked() -> None:
    shown = pair()
    marks = re.findall(r'fill="none" stroke="([^"]*)"', shown.still().svg)
    assert len(marks) == sum(len(walk.steps) for walk in shown.walks)
    assert marks.count(HUES["red"].light) == 1  # where the walk after the unmap stops


def test_strips_light_the_entry_the_walk_used(image: Image) -> None:
    shown = PageTableExplorer(image, CARD, iova=0xFFE78000)
    drawn = strips(shown.record["sides"][0], shown.walks[-1])
    assert [strip.name for strip in drawn] == [
        "Root table",
        "Context table",
        "Level 4",
        "Level 3",
        "Level 2",
        "Level 1",
    ]
    assert [(strip.lit, strip.size, strip.stopped) for strip in drawn[2:]] == [
        (0xFFE78000 >> shift & 511, 512, False) for shift in (39, 30, 21, 12)
    ]
    last = drawn[-1]
    assert any(kind == "both" and index <= last.lit < index + count for index, count, kind, _ in last.blocks)


@pytest.mark.parametrize("folder", ["superpage_1g-s0-quiet", "legacy48_lazy-s0-busy", "passthrough-s0-quiet"])
def test_the_records_of_real_machines_are_of_modest_size(folder: str) -> None:
    shown = PageTableExplorer(Image.load(REALITY / folder))
    assert len(json.dumps(shown.record)) < 700_000
    assert len(shown.still().svg) < 60_000


@pytest.mark.browser
def test_keys_move_the_address_and_choose_the_table(browser: Any, image: Image) -> None:
    with WidgetPage(browser, PageTableExplorer(image, CARD, iova=0xFFE78000)) as page:
        assert page.status().startswith(
            "00:02.0 reads 0xffe7_8000 → memory 0x1_451a_0000. 4 KiB page, read and write"
        )
        address = page.slider("DMA address")
        address.press("ArrowRight")
        assert page.position("iova") == "0xffe79000"
        assert "memory 0x1_451a_1000" in page.status()
        address.press("ArrowUp")  # from level 1 to level 2: steps are larger
        address.press("ArrowLeft")
        assert page.position("iova") == "0xffc79000"
        assert "refused, fault code 6h" in page.status()
        address.press("Shift+ArrowRight")
        assert page.position("iova") == "0xffe78000"
        assert page.complaints() == []


@pytest.mark.browser
def test_the_close_up_stands_still_while_the_mark_goes_through_it_and_a_click_goes_there(
    browser: Any, image: Image
) -> None:
    with WidgetPage(browser, PageTableExplorer(image, CARD, iova=0xFFE78000)) as page:
        lines = page.root.locator(".vtd-pt-close tr")
        numbers = [text.strip("▸ ") for text in lines.locator("td:first-child").all_inner_texts()]
        assert numbers == [
            str(index) for index in range(119, 129)
        ]  # entry 120 and its seven followers, one more on each side
        for expected in range(120, 128):
            assert page.root.locator(".vtd-pt-close tr.vtd-on td").first.inner_text() == f"▸{expected}"
            assert [text.strip("▸ ") for text in lines.locator("td:first-child").all_inner_texts()] == numbers
            page.slider("DMA address").press("ArrowRight")
        lines.nth(0).click()
        assert page.position("iova") == "0xffe7f000"
        lines.nth(9).click()
        assert page.position("iova") == "0xffe80000"


@pytest.mark.browser
def test_every_typed_address_gets_the_answer_of_the_unit(browser: Any, image: Image) -> None:
    shown = PageTableExplorer(image, CARD)
    with WidgetPage(browser, shown) as page:
        field = page.root.get_by_role("textbox", name="DMA address, hexadecimal")
        for address in (0, 0x1000, 0xFFE78ABC, 0xFEE00000 - 4096, 1 << 47, (1 << 64) - 1):
            field.fill(f"{address:x}")
            shown.iova = address
            answer = shown.walks[-1].answer
            expected = f"refused, fault code {answer.code:X}h" if isinstance(answer, Fault) else "→ memory"
            assert expected in page.status(), hex(address)
        field.fill("no address")
        assert "no address" in page.status()
        assert page.complaints() == []


@pytest.mark.browser
def test_two_records_have_one_cursor(browser: Any) -> None:
    with WidgetPage(browser, pair()) as page:
        assert re.match(r"before: .* → memory 0x500_1000\..* after: .*refused, fault code 6h", page.status())
        page.slider("DMA address").press("ArrowRight")
        before, after = page.status().split(" after: ")
        assert "→ memory 0x500_2000" in before
        assert "→ memory 0x500_2000" in after
        assert page.complaints() == []


@pytest.mark.browser
def test_text_from_outside_stays_text(browser: Any, image: Image) -> None:
    evil = '<img src=x onerror="document.title=1">'
    shown = PageTableExplorer(image, CARD)
    sides = [{**side, "name": evil} for side in shown.record["sides"]]
    shown.set_trait("record", {**shown.record, "title": evil, "sides": [*sides, *sides]})
    with WidgetPage(browser, shown) as page:
        assert page.root.locator("img").count() == 0
        assert page.page.title() == "widget"


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_cut_off_at_double_size(browser: Any, theme: str) -> None:
    pc = Computer(units=BOTH_STAGES, scalable=True)
    pc.map(pc.new_domain(attach="00:03.0"), 0x10000, 0x5000000, 4096)
    with WidgetPage(browser, PageTableExplorer(pc, "00:03.0"), theme=theme, zoom=2) as page:
        assert page.complaints() == []


# -- the other devices -----------------------------------------------------------


@pytest.fixture(scope="module")
def busy() -> Image:
    return Image.load(REALITY / "legacy48_lazy-s0-busy")


def test_another_device_of_the_record_is_walked_as_if_it_had_been_asked_for(busy: Image) -> None:
    shown = PageTableExplorer(busy, "00:03.0", iova=0xBF73E000)
    assert shown.device == "00:03.0 nvme"
    assert "00:02.0 e1000e" in [each["device"] for each in shown.record["more"]]
    shown.device = "00:02.0 e1000e"
    shown.iova = first = PageTableExplorer(busy, "00:02.0").iova
    assert repr(shown) == repr(PageTableExplorer(busy, "00:02.0", iova=first))
    assert shown.still().label.startswith("00:02.0 (e1000e): page tables")
    with pytest.raises(TraitError, match="no device 'x"):
        shown.device = "x" * 1000
    assert len(json.dumps(shown.record)) < 350_000


def test_in_scalable_mode_the_pasids_of_a_device_may_be_chosen() -> None:
    pc = Computer(
        units=BOTH_STAGES, scalable=True, devices={"00:03.0": {"ats": True, "pri": True, "pasid": True}}
    )
    assert pc.run(pc.driver.intel_svm_bind(pc.devices["00:03.0"], 5)) == 0
    shown = PageTableExplorer(pc, "00:03.0")
    assert [shown.device, *(each["device"] for each in shown.record["more"])] == [
        "00:03.0",
        "00:03.0 PASID 5",
    ]
    shown.device = "00:03.0 PASID 5"
    assert "PASID 5" in shown.still().label
    (request,) = {walk.request.pasid for walk in shown.walks}
    assert request == 5


@pytest.mark.browser
def test_a_device_is_found_by_what_one_types_and_stale_pages_are_told_apart(
    browser: Any, busy: Image
) -> None:
    with WidgetPage(browser, PageTableExplorer(busy, "00:03.0", iova=0xBF73E000)) as page:
        assert page.root.get_by_role("button", name="stale ▸ (288 of 300)").count() == 1
        chooser = page.root.get_by_role("combobox", name="device")
        assert chooser.input_value() == "00:03.0 nvme"
        chooser.click()
        page.page.keyboard.type("e1000e")
        assert page.position("device") == "00:02.0 e1000e"
        assert page.root.locator(".vtd-title").inner_text().startswith("00:02.0 (e1000e): page tables")
        assert page.status().startswith("00:02.0 reads ")
        assert "→ memory" in page.status()
        chooser.press("Escape")
        chooser.click()
        page.page.keyboard.type("virtio")
        page.page.keyboard.press("Enter")
        assert page.status().startswith("“virtio” is none of the ")
        strip = page.root.locator(".vtd-pt-strip").nth(-2)
        strip.click(position={"x": 100, "y": 8})
        before = page.position("iova")
        page.page.keyboard.press("ArrowRight")  # the strip has given the widget the keys
        assert int(page.position("iova"), 16) - int(before, 16) == 4096
        assert page.complaints() == []
