"""The bit-field card: what hardware answers for a value, the layout of the bits, the record, the
card in a browser.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import traitlets

from tests.views.javascript import call
from tests.views.widgetpage import WidgetPage
from vtdkit.lab.computer import Computer
from vtdkit.views.bits import records as bits
from vtdkit.views.bits.layout import bit_rows, bits_text, field_value, worth_a_line
from vtdkit.views.bits.widget import BitFieldCard
from vtdkit.views.bits.words import abbreviations, explain, layouts
from vtdkit.views.shared.palette import HUES
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.image.image import Image
from vtdkit.vtd.requests import Fault, Request, sid
from vtdkit.vtd.walk.trace import Walk

ABLE = Capabilities.scalable().environment


@pytest.fixture(scope="module")
def walk() -> Walk:
    """What a network card of a real guest gets for an address of its buffers."""
    unit = Image.load("tests/reality/superpage_1g-s0-quiet").unit_as()
    return unit.walk(Request(sid("00:02.0"), 0xFFE78000, "read"))


@pytest.fixture(scope="module")
def unit() -> Any:
    return Image.load("tests/reality/superpage_1g-s0-quiet").unit_as()


@pytest.fixture
def card(unit: Any, walk: Walk) -> BitFieldCard:
    return BitFieldCard(walk.steps[-1], unit=unit, request=walk.request)


def test_every_single_flip_answers_as_the_unit_would_with_that_entry() -> None:
    pc = Computer()
    domain = pc.new_domain(attach="00:03.0")
    assert pc.map(domain, 0x10000, 0x5000000, 4096) == 0
    unit = pc.hardware[0].unit
    request = Request(sid("00:03.0"), 0x10000, "read")
    last = unit.walk(request).steps[-1]
    card = BitFieldCard(last, unit=unit, request=request)
    seen = set()
    for bit in range(64):
        told = card.record["distinct"][card.record["flips"][str(bit)]]
        unit.memory.write64(last.address, last.raw ^ 1 << bit)
        answers = [unit.from_memory(Request(sid("00:03.0"), 0x10000, kind)) for kind in ("read", "write")]
        assert [line["good"] for line in told] == [not isinstance(a, Fault) for a in answers], bit
        seen |= {a.label for a in answers if isinstance(a, Fault)}
    unit.memory.write64(last.address, last.raw)
    assert {"LGN.2", "LGN.3", "LGN.4"} & seen


def test_asking_changes_nothing(unit: Any, walk: Walk) -> None:
    before = (dict(unit.registers), unit.memory.read64(walk.steps[-1].address), unit.queue.base)
    card = BitFieldCard(walk.steps[-1], unit=unit, request=walk.request)
    card.value = 0x5
    assert card.answers
    assert (
        dict(unit.registers),
        unit.memory.read64(walk.steps[-1].address),
        unit.queue.base,
    ) == before


def test_an_upper_entry_answers_too(unit: Any, walk: Walk) -> None:
    found = BitFieldCard(walk.steps[1], unit=unit, request=walk.request)
    assert int(found.value, 16) == walk.steps[1].raw
    found.value = walk.steps[1].raw & ~1
    assert [line["head"][-45:] for line in found.answers] == [
        "fault code 2h (LCT.2: context entry not present)"[-45:]
    ] * 2


@pytest.mark.parametrize("name", layouts())
def test_every_layout_makes_a_card_that_names_each_bit_once(name: str) -> None:
    card = BitFieldCard(name)
    width = card.record["width"]
    for layout in card.record["layouts"].values():
        covered = [bit for row in layout["rows"] for bit in range(row["high"], row["low"] - 1, -1)]
        assert covered == list(range(width - 1, -1, -1))
    assert len(json.dumps(card.record)) < 60_000
    assert repr(card) == f"<BitFieldCard {name} = 0x0>"


@pytest.mark.parametrize("name", layouts())
def test_each_abbreviation_a_layout_shows_is_explained(name: str) -> None:
    texts = [
        row["meaning"] for row in bits.layout_record(layouts()[name], ABLE)["rows"] if row["state"] == "used"
    ]
    assert [word for text in texts for word in abbreviations(text) if not explain(word)] == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"what": "SS-PTX"}, "there is no layout called 'SS-PTX'; there are "),
        ({"what": "GCMD", "value": 1 << 32}, "0x100000000 does not fit: GCMD_REG has 32 bits"),
        ({"what": "GCMD", "value": -1}, "does not fit"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_its_reason(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        BitFieldCard(**arguments)


def test_a_value_that_is_no_number_is_refused() -> None:
    with pytest.raises(traitlets.TraitError, match="512 bits"):
        BitFieldCard("SS-PTE").value = "0xyz"
    with pytest.raises(traitlets.TraitError, match="0x10000000000000000 does not fit: SS-PTE has 64 bits"):
        BitFieldCard("SS-PTE").value = 1 << 64


def test_rows_of_32_bits_hold_every_bit_once() -> None:
    layout = bits.layout_record(layouts()["SS-PTE"], Capabilities().environment)
    top, bottom = bit_rows(layout["rows"], 64, 0x1451A0002, 0x1451A0003)
    assert [sum(part["high"] - part["low"] + 1 for part in row.parts) for row in (top, bottom)] == [32, 32]
    here = [(part["high"], part["low"]) for part in bottom.parts if part["name"] in ("W", "R")]
    assert here == [(1, 1), (0, 0)]
    crossing = [
        (part["high"], part["low"]) for row in (top, bottom) for part in row.parts if part["name"] == "ADDR"
    ]
    assert [crossing[0][1], crossing[1][0]] == [32, 31]


def test_a_reserved_bit_that_is_set_is_wrong_and_an_ignored_one_is_not() -> None:
    layout = bits.layout_record(layouts()["SS-PTE"], Capabilities().environment)
    value = sum(1 << row["low"] for row in layout["rows"])
    red = "".join(
        re.findall(
            rf'<path d="([^"]*)" fill="{HUES["red"].light}"', BitFieldCard("SS-PTE", value).still().svg
        )
    )
    assert red.count("M") == sum(row["state"] == "reserved" for row in layout["rows"]) > 0


def test_wide_values_fold_what_is_zero_and_unused() -> None:
    layout = bits.layout_record(layouts()["PASID table entry"], ABLE)
    rows = bit_rows(layout["rows"], 512, 1 << 300, 1 << 300)
    assert [(row.high, row.low) for row in rows if not row.parts] == [(511, 320), (287, 192)]
    assert rows[1].high == 319


def test_lines_name_what_is_used_or_set() -> None:
    layout = bits.layout_record(layouts()["SS-PTE"], Capabilities().environment)
    lines = {name: (where, value) for where, name, value, _ in worth_a_line(layout, 0x1451A0003 | 1 << 11)}
    assert lines["ADDR"][1] == 0x1451A0000
    assert (lines["R"], lines["W"]) == (("0", 1), ("1", 1))


def test_javascript_and_python_take_a_value_apart_alike() -> None:
    values = [0, 1, 0x1451A0003, (1 << 64) - 1, 0xA5A5_5A5A_0F0F_F0F0]
    layout = bits.layout_record(layouts()["SS-PTE"], Capabilities().environment)
    body = (
        "(m, given) => given.values.map((v) => m.decode(given.layout, BigInt(v)).map((r) => [r.name, "
        "r.bits, r.value, r.wrong]))"
    )
    theirs = call("bits/bits.js", body, {"layout": layout, "values": [hex(value) for value in values]})
    for value, rows in zip(values, theirs, strict=True):
        ours = [(row, field_value(row, value)) for row in layout["rows"]]
        assert rows == [
            [row["name"], bits_text(row), hex(number), row["state"] == "reserved" and number != 0]
            for row, number in ours
        ]
        entry = layouts()["SS-PTE"].decode(value & (1 << 46) - 1)
        named = {row["name"]: field_value(row, entry.raw) for row in layout["rows"]}
        assert all(named[name] == entry[name] for name in ("ADDR", "EMT", "W", "R"))


def test_a_saved_notebook_gets_the_fields_and_the_answers(card: BitFieldCard) -> None:
    still = card.still().svg
    for text in (
        "ADDR",
        "0x1451a0000",
        "next table or page",
        "✓ 00:02.0 reads 0xffe78000: memory 0x1451a0000",
    ):
        assert text in still
    assert len(still) < 12_000
    assert repr(card) == repr(card)
    assert "0x7f" not in repr(card)


def test_the_still_has_a_box_and_a_digit_for_every_bit(card: BitFieldCard) -> None:
    still = card.still().svg
    digits = "".join(re.findall(r'anchor="middle" font-size="12">(0+|1+)</text>', still))
    assert len(digits) == 64
    assert digits.count("1") == int(card.value, 16).bit_count()
    assert sum(path.count("M") for path in re.findall(r'<path d="([^"]*z)"', still)) == 64


def test_a_bit_that_differs_is_underlined_and_one_that_must_be_0_is_red(card: BitFieldCard) -> None:
    before = card.still().svg
    assert before.count(HUES["orange"].light) == 1  # in the legend
    assert HUES["red"].light not in before
    card.value = hex(int(card.value, 16) ^ 1 << 57)
    after = card.still().svg
    assert after.count(HUES["orange"].light) == 2


@pytest.mark.browser
def test_keys_flip_bits_and_the_page_answers_without_a_kernel(browser: Any, card: BitFieldCard) -> None:
    with WidgetPage(browser, card) as page:
        board = page.slider("bit")
        assert board.get_attribute("aria-valuetext") == "bit 0, R (used), is 1"
        board.press(" ")
        assert page.position("value") == "0x1451a0002"
        assert "reads 0xffe78000: refused, fault code 6h (LGN.3: no read permission)" in page.status()
        board.press("ArrowLeft")
        assert board.get_attribute("aria-valuetext") == "bit 1, W (used), is 1"
        board.press("ArrowUp")
        assert page.position("bit") == 33
        board.press("Home")
        assert page.position("bit") == 63
        assert page.complaints() == []


@pytest.mark.browser
def test_without_a_kernel_a_value_far_away_is_said_to_be_unknown(browser: Any, card: BitFieldCard) -> None:
    with WidgetPage(browser, card) as page:
        page.root.get_by_role("textbox", name="value").fill("0x7")
        page.root.get_by_text("No kernel answers.").first.wait_for()
        page.root.get_by_role("textbox", name="value").fill("zz")
        assert page.status() == "“zz” is no value of 64 bits: write up to 16 hexadecimal digits."
        page.root.get_by_role("button", name="start again").click()
        assert page.position("value") == "0x1451a0003"


@pytest.mark.browser
def test_with_a_kernel_python_answers_for_any_value(browser: Any, card: BitFieldCard) -> None:
    with WidgetPage(browser, card, kernel=True) as page:
        page.root.get_by_role("textbox", name="value").fill("0x7000")
        page.root.get_by_text("no read permission").first.wait_for()
        assert card.value == "0x7000"
        assert page.complaints() == []


@pytest.mark.browser
@pytest.mark.parametrize("name", ["PASID table entry", "GCMD", "inv_wait_dsc"])
def test_no_card_is_wider_than_a_page_at_double_size(browser: Any, name: str) -> None:
    with WidgetPage(browser, BitFieldCard(name, 1), theme="dark", zoom=2) as page:
        assert page.complaints() == []
