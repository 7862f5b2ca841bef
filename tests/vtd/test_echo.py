"""Text from outside is never repeated whole: at most 80 characters, and none that moves the cursor.

Names and values of every file of an image folder, and of the command line, are made overlong and strange;
then every message and everything that is printed is looked at.
"""

from __future__ import annotations

import gzip
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reality_check.check import check_folder
from vtdkit import cli
from vtdkit.vtd.firmware.dmar import Andd, BadDmar, Dmar, Drhd, Unknown, parse
from vtdkit.vtd.image.image import Image
from vtdkit.vtd.image.inspect import inspect_folder
from vtdkit.vtd.plain import ECHO, echo, quoted
from vtdkit.vtd.quirks import qemu, version_number
from vtdkit.vtd.requests import BadRequest, Request, sid

REALITY = Path(__file__).parent.parent / "reality"
FOLDER = "passthrough-s0-quiet"
# What is put in place of a name or a value. Q stands in no other text of the messages.
STRANGE = (
    "Q" * 10_000,
    "\x1b[31m" + "Q" * 300,
    "Q\n" * 200,
    "\u202e" + "Q" * 90,
    "<script>" + "Q" * 200,
    "\0" * 500,
)


def harmless(text: str) -> None:
    """No long run of what was put in, and nothing that is not printable, newlines of our own apart."""
    assert "Q" * (ECHO + 1) not in text, text[:300]
    assert all(c.isprintable() or c == "\n" for c in text), ascii(text[:300])
    assert "Q\nQ" not in text
    assert max(map(len, text.split("\n"))) < 400


@given(st.text(max_size=300))
def test_an_echo_is_short_printable_and_true_where_it_can_be(text: str) -> None:
    for made in (echo(text), quoted(text)):
        assert len(made) <= ECHO
        assert made.isprintable()
    if len(text) <= ECHO and text.isprintable():
        assert echo(text) == text


def spoil(value: Any, rng: random.Random, strange: str) -> Any:
    """A JSON value with one name or leaf of it replaced."""
    if isinstance(value, dict) and value:
        key = rng.choice(sorted(value))
        if rng.random() < 0.3:
            return {strange if name == key else name: each for name, each in value.items()}
        return {**value, key: spoil(value[key], rng, strange)}
    if isinstance(value, list) and value:
        index = rng.randrange(min(len(value), 4))
        return [*value[:index], spoil(value[index], rng, strange), *value[index + 1 :]]
    return strange


FILES = ("regs.json", "meta.json", "oracle.json.gz", "replay_oracle.json.gz", "invalidations.json.gz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("echo") / ("Q" * 200)
    shutil.copytree(REALITY / FOLDER, made)
    return made


@given(seed=st.integers(0, 1 << 30), name=st.sampled_from(FILES), number=st.integers(0, len(STRANGE) - 1))
@settings(max_examples=60, deadline=None)
def test_strange_names_and_values_in_any_file(folder: Path, seed: int, name: str, number: int) -> None:
    """§14.7: an overlong or strange name in a hostile file was repeated whole."""
    raw = (REALITY / FOLDER / name).read_bytes()
    packed = name.endswith(".gz")
    value = spoil(json.loads(gzip.decompress(raw) if packed else raw), random.Random(seed), STRANGE[number])
    text = json.dumps(value).encode()
    (folder / name).write_bytes(gzip.compress(text, 1) if packed else text)
    try:
        report = check_folder(folder)
        harmless("\n".join([report.line(), *report.problems[:50]]))
        harmless(inspect_folder(folder, None, 2).text())
    except ValueError as error:
        harmless(str(error))
    finally:
        (folder / name).write_bytes(raw)


@pytest.mark.parametrize("strange", STRANGE, ids=range(len(STRANGE)))
def test_strange_words_on_the_command_line(strange: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        [strange],
        ["inspect", strange],
        ["check", strange],
        ["inspect", str(REALITY / FOLDER), "--device", strange],
    ):
        assert cli.main(words) == 2
        captured = capsys.readouterr()
        harmless(captured.out + captured.err)
        assert captured.err.count("\n") == 1


@pytest.mark.parametrize("strange", STRANGE, ids=range(len(STRANGE)))
def test_strange_text_in_calls_and_tables(strange: str) -> None:
    for call in (lambda: sid(strange), lambda: Request(0, 0, strange), lambda: Request(0, 0, at=strange)):  # type: ignore[arg-type]
        with pytest.raises(BadRequest) as caught:
            call()
        harmless(str(caught.value))
    with pytest.raises(ValueError, match="no version number") as no_number:
        qemu(strange)
    harmless(str(no_number.value))
    harmless(version_number(f"10.0{strange}"))
    with pytest.raises(BadDmar) as bad:
        parse(strange.encode()[:48].ljust(48, b"Q"))
    harmless(str(bad.value))
    name = strange.encode()[:60_000]
    table = Dmar(46, 0, (Drhd(4096), Andd(1, name), Unknown(9, name)), oem_id=b"Q\n\x1b[1m")
    harmless(repr(table))
    harmless("\n".join(table.problems()))


def test_a_folder_with_a_strange_name_is_named_all_the_same(tmp_path: Path) -> None:
    made = tmp_path / "new\nline"
    shutil.copytree(REALITY / FOLDER, made)
    assert Image.load(made).name == "new\\x0aline"
    harmless(repr(Image.load(made)))
