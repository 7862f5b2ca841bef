"""New words: bold once, where they are first used, used nowhere before, and in the glossary.

Bold text in a lesson is a new word, unless it is a label: it ends in a full stop, a question mark or a colon
(a date, "Claim 1.", the name of an exercise), or begins an item of a list or a row of a table. Emphasis is
*italic*. A lesson's first cell (what one will be able to say), titles, links, code and italic text, which
quotes, are no use of a word.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.notebooks.nbchecks import source

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("[012][0-9]-*.ipynb"))
BOLD = re.compile(r"\*\*(.+?)\*\*", re.S)
ITEM = re.compile(r"\s*(-|\d+\.|\|).*\s*")
NO_USE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`|\]\([^)]*\)|(?<!\*)\*[^*\n]+\*(?!\*)|^#+ .*$", re.S | re.M)
ENDINGS = "(s|es|ed|ing)?"

#: uses before the word is taught, and why they are none: (word, lesson)
OTHERWISE = {
    ("block", "01"): "the verb",
    ("block", "04"): "a piece of a picture, a piece of memory",
    ("block", "11"): "the verb",
    ("bug", "06"): "an ordinary bug; the word is BUG",
    ("capability", "11"): "a device's",
    ("page tables", "00"): "told in the next sentences",
    ("pasid entry", "04"): "named beside the entries it stands among; lesson 07 opens it",
}


def cells(path: Path) -> list[str]:
    """The prose of a lesson, cell by cell, without its first cell and its links."""
    found = [
        source(cell) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"
    ]
    return [text for text in found[1:] if not text.startswith("## Links")]


def new_words() -> list[tuple[str, str, int, int]]:
    """Each bold word: itself, lesson, cell, place in the cell."""
    found = []
    for path in LESSONS:
        for number, text in enumerate(cells(path)):
            for match in BOLD.finditer(text):
                line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
                label = match[1][-1] in ".?:" or (ITEM.fullmatch(line) and len(line.strip()) <= 3)
                if not label:
                    found.append((match[1].lower(), path.name[:2], number, match.start()))
    return found


def glossary() -> dict[str, str]:
    """Word → lesson."""
    found = {}
    for row in (NOTEBOOKS / "glossary.md").read_text(encoding="utf-8").splitlines():
        if row.startswith("| **"):
            cells = row.split(" | ")
            lesson = re.search(r"\[(\d\d)\]", cells[-1])
            assert lesson, row
            found |= {word.lower(): lesson[1] for word in BOLD.findall(cells[0])}
    return found


def _known(word: str) -> str | None:
    """The glossary's form of a word as it stands in a sentence."""
    return next((each for each in glossary() if re.fullmatch(re.escape(each) + ENDINGS, word)), None)


def test_every_new_word_is_in_the_glossary_and_names_its_lesson() -> None:
    wrong = {}
    for word, lesson, *_ in new_words():
        known = _known(word)
        if known is None or glossary()[known] != lesson:
            wrong[word] = lesson, known and glossary()[known]
    assert wrong == {}


def test_a_word_is_new_once() -> None:
    words = [_known(word) or word for word, *_ in new_words()]
    assert sorted({word for word in words if words.count(word) > 1}) == []


def test_no_word_is_used_before_it_is_taught() -> None:
    early = []
    prose = [(path.name[:2], number, text) for path in LESSONS for number, text in enumerate(cells(path))]
    for word, lesson, cell, place in new_words():
        pattern = re.compile(rf"(?<![\w-]){re.escape(word)}s?(?![\w-])", re.I)
        for where, number, text in prose:
            if (where, number) > (lesson, cell):
                break
            read = NO_USE.sub(lambda match: " " * len(match[0]), text)
            if (where, number) == (lesson, cell):
                read = read[:place]
            if (match := pattern.search(read)) and (word, where) not in OTHERWISE:
                early.append((word, where, read[max(match.start() - 30, 0) : match.end() + 20]))
    assert early == []
