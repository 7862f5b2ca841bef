"""The sheet that stills are written on: its picture is well formed, escaped, and holds what it says."""

from __future__ import annotations

import re
from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vtdkit.views.shared.html import tag
from vtdkit.views.shared.sheet import (
    GAP,
    SIZE,
    Picture,
    Sheet,
    column_widths,
    coordinate,
    legend,
    wide,
    wrapped,
    written,
)

EVIL = "<script>alert('x')</script> & \"more\""


def written_sheet(words: str = "words") -> Picture:
    sheet = Sheet(words, words)
    sheet.text(words, lead="Lead:")
    sheet.source([("> ", f"    {words}", "tint"), ("  ", "", "")])
    sheet.table((words, "b"), [(words, "1"), ("c", words)], mono=(1,))
    sheet.draw(20, *legend([(tag("rect", width=9, height=9), words)]))
    return sheet.picture()


def texts(picture: Picture) -> list[str]:
    root = ElementTree.fromstring(picture.svg)
    return ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_picture_is_well_formed_and_its_words_are_text() -> None:
    picture = written_sheet(EVIL)
    said = texts(picture)
    assert f"Lead: {EVIL}" in said
    assert "<script" not in picture.svg
    assert any(line.replace("\N{NO-BREAK SPACE}", " ") == f">     {EVIL}" for line in said)


def test_the_image_holds_the_drawing_itself_and_is_named() -> None:
    picture = written_sheet()
    (data,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', picture.img)
    assert b64decode(data).decode() == picture.svg
    assert 'alt="words"' in picture.img
    assert picture._repr_html_() == picture.img
    assert repr(picture) == f"Picture(label='words', width=860, height={picture.height})"


def test_a_lead_is_bold_to_its_end_however_many_lines_it_takes() -> None:
    sheet = Sheet("x", width=200)
    sheet.text("and then plain", lead="bold words that take more than one line of the sheet.")
    bold = re.findall(r'<tspan font-weight="bold">([^<]*)</tspan>', sheet.picture().svg)
    assert len(bold) > 1
    assert " ".join(bold) == "bold words that take more than one line of the sheet."
    assert "and then plain" in " ".join(texts(sheet.picture()))


def test_a_picture_is_saved_for_paper(tmp_path: Path) -> None:
    written_sheet().save(tmp_path / "x.svg")
    assert ElementTree.parse(tmp_path / "x.svg").getroot().get("height") == str(written_sheet().height)


def test_nothing_stands_outside_the_sheet() -> None:
    words = "a long line of words that goes on " * 20
    sheet = Sheet("x", width=300)
    sheet.text(words, lead="Lead")
    sheet.table(("a", "b", "c"), [(words, "short", words)])
    sheet.source([("+ ", words, "add")])
    for each in texts(sheet.picture()):
        assert wide(each.strip(), 12, mono="\N{NO-BREAK SPACE}" in each) <= 300


@pytest.mark.parametrize("width", [60, 200, 500])
def test_lines_are_no_wider_than_asked_for(width: float) -> None:
    for text in ("one two three four five six seven", "WWWW MMMM iiii llll WWWW", ""):
        lines = wrapped(text, width)
        assert " ".join(lines) == text
        assert all(wide(line) <= width or len(line) <= 4 for line in lines)


def test_only_the_widest_columns_of_a_table_give_way() -> None:
    rows = [("ab", "x" * 100, "y" * 200)]
    free = column_widths(("a", "b", "c"), rows, 10_000)
    assert free[0] < free[1] < free[2]
    tight = column_widths(("a", "b", "c"), rows, 500)
    assert tight[0] == free[0]
    assert tight[1] == tight[2]
    assert sum(tight) + 2 * GAP == pytest.approx(500)


def test_coordinates_are_short() -> None:
    assert [coordinate(x) for x in (1.0, 0.25, -0.04, 3, 10.96)] == ["1", "0.2", "0", "3", "11"]


def test_plain_text_says_no_more_than_it_must() -> None:
    assert written(1, 2, "a") == '<text x="1" y="2">a</text>'
    assert written(1, 2, "a", size=SIZE, ink="soft", mono=True).count("=") == 4
