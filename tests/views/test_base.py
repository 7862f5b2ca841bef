"""What all widgets share: records, stills, the bundler, the palette."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import traitlets

from vtdkit.views import (
    BackendExplorer,
    BitFieldCard,
    LockTimeline,
    PageTableExplorer,
    PatchView,
    Stepper,
)
from vtdkit.views.shared import bundle, palette, record
from vtdkit.views.shared.base import Address, Widget
from vtdkit.views.shared.html import Html, join, tag
from vtdkit.views.shared.record import BadRecord, checked
from vtdkit.views.shared.sheet import Picture, Sheet

VIEW = "application/vnd.jupyter.widget-view+json"


class Tiny(Widget):
    """A widget of two traits."""

    _esm = "export default { render() {} }"
    place = Address().tag(sync=True)
    largest_record = 1000

    def summary(self) -> str:
        return f"{self.record['title']} at {self.place}"

    def still(self) -> Picture:
        sheet = Sheet(self.summary())
        sheet.text(self.summary())
        return sheet.picture()


def test_importing_the_room_brings_in_neither_anywidget_nor_matplotlib() -> None:
    heavy = "'anywidget', 'ipywidgets', 'traitlets', 'matplotlib', 'numpy'"
    code = f"import sys, vtdkit.views\nprint(sorted({{{heavy}}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_name_there_is_not_is_an_attribute_error() -> None:
    import vtdkit.views

    with pytest.raises(AttributeError, match=r"'vtdkit\.views' has no attribute 'Nothing'"):
        vtdkit.views.Nothing  # noqa: B018
    assert "Widget" in dir(vtdkit.views)


def test_a_saved_notebook_gets_text_and_a_still_without_any_address_or_id() -> None:
    tiny = Tiny({"title": "a <b> & c"}, place=0x1000)
    bundle_, metadata = tiny._repr_mimebundle_()
    assert bundle_.pop(VIEW)["model_id"]
    still = bundle_.pop("text/html")
    assert bundle_ == {"text/plain": "<Tiny a <b> & c at 0x1000>"}
    assert still.startswith('<div><img src="data:image/svg+xml;base64,')
    assert 'alt="a &lt;b&gt; &amp; c at 0x1000"' in still
    assert still == Tiny({"title": "a <b> & c"}, place=0x1000)._repr_mimebundle_()[0]["text/html"]
    assert metadata == {}
    assert repr(tiny) == bundle_["text/plain"]


def test_the_record_goes_over_with_the_widget_and_never_changes() -> None:
    tiny = Tiny({"title": "x", "pair": (1, 2)})
    assert tiny.get_state()["record"] == {"title": "x", "pair": [1, 2]}
    with pytest.raises(traitlets.TraitError, match="read-only"):
        tiny.record = {}


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (
            {"a": [0, 1 << 53]},
            "record.a[1] is 0x20000000000000: JavaScript is exact only up to 53 bits; give it as text, "
            "'0x20000000000000'",
        ),
        ({"a": {"b": float("nan")}}, "record.a.b is nan: JSON has no such number"),
        ({"a": {1: 2}}, "record.a has the key 1; keys are text"),
        (
            {"a": b"x"},
            "record.a is a bytes; a record holds dicts, lists, text, numbers, True, False and None",
        ),
        (
            {"a": {1, 2}},
            "record.a is a set; a record holds dicts, lists, text, numbers, True, False and None",
        ),
    ],
)
def test_what_a_browser_could_not_be_given_is_refused_with_its_place(
    value: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadRecord, match=re.escape(complaint)):
        Tiny(value)


def test_a_record_that_is_too_large_says_what_is_large() -> None:
    with pytest.raises(
        BadRecord, match=re.escape("the record takes 2,026 bytes and may take 1,000; most is in 'rows'")
    ):
        Tiny({"title": "x", "rows": "y" * 2003})


def test_sizes_count_bytes_and_not_letters() -> None:
    assert checked({"a": "ü" * 10}, limit=28) == {"a": "ü" * 10}
    with pytest.raises(BadRecord, match="takes 28 bytes"):
        checked({"a": "ü" * 10}, limit=27)


def test_numbers_of_64_bits_travel_as_text() -> None:
    assert checked({"n": (1 << 53) - 1})["n"] == json.loads(json.dumps((1 << 53) - 1))
    assert record.EXACT == 2**53


@pytest.mark.parametrize(
    ("given", "kept"),
    [(0, "0x0"), (0x1000, "0x1000"), ("0X00fF", "0xff"), ("ff", "0xff"), ((1 << 64) - 1, "0x" + "f" * 16)],
)
def test_an_address_is_given_as_a_number_or_as_hex_text(given: int | str, kept: str) -> None:
    assert Tiny({}, place=given).place == kept


@pytest.mark.parametrize("given", [-1, 1 << 64, "0xzz", None, "", True, [1]])
def test_what_is_no_address_is_refused(given: object) -> None:
    with pytest.raises(traitlets.TraitError, match="address below 2\\^64, as a number or as hex text"):
        Tiny({}, place=given)


def test_text_in_stills_is_escaped_wherever_it_stands() -> None:
    evil = '<img src=x onerror="alert(1)">'
    for made in (
        tag("p", evil, title=evil),
        join([evil]),
        Sheet(evil).picture().svg,
        Tiny({"title": evil}).still().svg,
    ):
        assert isinstance(made, Html)
        assert "<img" not in made
        assert 'onerror="' not in made


def test_markup_is_put_together_as_written() -> None:
    made = tag("p", 1, " < ", tag("b", "x"), class_="a", aria_label="n", id=None)
    assert made == '<p class="a" aria-label="n">1 &lt; <b>x</b></p>'
    assert tag("rect", x=1) == '<rect x="1"/>'
    assert tag("td") == "<td></td>"


def test_a_bundle_holds_each_module_once_deepest_first(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "top.js": 'import { b } from "./b.js";\nimport { a } from "./a.js";\nexport default { render: () => '
        "a + b };\n",
        "b.js": 'import {\n  a,\n  other,\n} from "./a.js";\nexport const b = a;\nexport function f() {}\n',
        "a.js": "export const a = 1;\nconst other = 2; // export const text in a comment stays\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(bundle, "VIEWS", tmp_path)
    bundle._read.cache_clear()
    try:
        assert bundle.module("top.js") == (
            "const a = 1;\nconst other = 2; // export const text in a comment stays\n"
            "const b = a;\nfunction f() {}\nexport default { render: () => a + b };\n"
        )
        (tmp_path / "bad.js").write_text('import x from "https://cdn.example/x.js";\n', encoding="utf-8")
        with pytest.raises(ValueError, match=r"bad\.js: cannot put .* into one module"):
            bundle.module("bad.js")
    finally:
        bundle._read.cache_clear()


SHEETS = sorted(str(path.relative_to(bundle.VIEWS)) for path in bundle.VIEWS.rglob("*.css"))
SCRIPTS = sorted(str(path.relative_to(bundle.VIEWS)) for path in bundle.VIEWS.rglob("*.js"))


FORBIDDEN = (
    *("https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("),
    *("fetch(", "XMLHttpRequest", "WebSocket"),
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_module_loads_anything_or_takes_text_for_markup(name: str) -> None:
    text = bundle.module(name)
    for forbidden in FORBIDDEN:
        assert forbidden not in text, forbidden
    assert re.findall(r"http://[^\"' ]+", text) in ([], ["http://www.w3.org/2000/svg"])


@pytest.mark.parametrize("name", SHEETS)
def test_a_style_sheet_stays_inside_its_widget_and_names_no_colour_of_its_own(name: str) -> None:
    text = re.sub(r"/\*.*?\*/", "", (bundle.VIEWS / name).read_text(encoding="utf-8"), flags=re.S)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|url\(|@import", text)
    for selector in re.findall(r"([^{}]+)\{", text):
        if not selector.strip().startswith("@"):
            for each in re.split(r",(?![^(]*\))", selector):
                assert each.strip().startswith(".vtd"), selector
    used = set(re.findall(r"var\(--vtd-([\w-]+)", text))
    own = set(re.findall(r"--vtd-([\w-]+):", text))
    script = (bundle.VIEWS / name).with_suffix(".js")
    own |= (
        set(re.findall(r'setProperty\("--vtd-([\w-]+)"', script.read_text(encoding="utf-8")))
        if script.exists()
        else set()
    )
    known = set(re.findall(r"--vtd-([\w-]+):", palette.css()))
    assert used <= known | own


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("hue", palette.HUES.values(), ids=lambda hue: hue.name)
def test_text_on_a_hue_can_be_read(hue: palette.Hue) -> None:
    assert contrast(hue.light, hue.on_light) >= 4.5
    assert contrast(hue.dark, hue.on_dark) >= 4.5


def test_text_on_every_grey_can_be_read_in_both_themes() -> None:
    light = {name: value for name, value, _, _ in palette._GREYS}
    dark = {name: value for name, _, value, _ in palette._GREYS}
    for greys in (light, dark):
        for ground in ("paper", "raised", "sunken", "tint", "alarm", "add"):
            assert contrast(greys["ink"], greys[ground]) >= 7, ground
            assert contrast(greys["soft"], greys[ground]) >= 4.5, ground
        assert contrast(greys["focus"], greys["paper"]) >= 3
        assert contrast(greys["line"], greys["paper"]) >= 3
    assert contrast(palette.PAPER["warning"], light["paper"]) >= 4.5
    assert contrast(palette.PAPER["ink"], palette.PAPER["hatch"]) >= 4.5


@pytest.mark.parametrize(
    "kind", [BackendExplorer, BitFieldCard, LockTimeline, PageTableExplorer, PatchView, Stepper]
)
def test_no_position_is_echoed_since_an_old_one_would_undo_the_next_key(kind: type[Widget]) -> None:
    moved = set(kind.class_trait_names(sync=True)) - set(Widget.class_trait_names()) - {"answered"}
    assert moved
    assert moved == set(kind.class_trait_names(echo_update=False))
