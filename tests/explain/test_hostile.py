"""Texts that mean harm, or mean nothing: no traceback, no hang, nothing carried through that a page or a
terminal would obey, nothing personal where it is not wanted.
"""

from __future__ import annotations

import io
import json
import random
import re
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from vtdkit.explain import commandline
from vtdkit.explain.firmware import table_pieces
from vtdkit.explain.reading import MOST_ROWS, explain, explain_chunks
from vtdkit.explain.report import Explanation

HERE = Path(__file__).parent
TEXTS = [
    *(case["text"].encode() for case in tomllib.loads((HERE / "cases.toml").read_text("utf-8"))["case"]),
    *(path.read_bytes() for path in sorted((HERE / "public").iterdir())),
]
DMA = "DMAR: [DMA Read] Request device [00:02.0] fault addr 0x1000 [fault reason 06]"
FAULT = f"{DMA} PTE Read access is not set\n"
PERF = "contended   total wait     max wait     avg wait         type   caller\n\n"
SPOILT = (
    b"\0",
    b"\xff",
    b"\n",
    b"\r",
    b" ",
    b"0x",
    b"f" * 40,
    b"[",
    b":",
    b"\x1b[31m",
    b"<b>",
    b"-1",
    b"9" * 30,
)


def spoil(data: bytes, rng: random.Random) -> bytes:
    """The same with a few things wrong: bits, pieces taken out, doubled, put in, exchanged, cut off."""
    out = bytearray(data[:20_000])
    for _ in range(rng.randrange(1, 12)):
        if not out:
            break
        at, size = rng.randrange(len(out)), rng.randrange(1, 40)
        match rng.randrange(6):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                del out[at : at + size]
            case 2:
                out[at:at] = out[at : at + size]
            case 3:
                out[at:at] = rng.choice(SPOILT)
            case 4:
                other = rng.choice(TEXTS)
                place = rng.randrange(len(other))
                out[at : at + size] = other[place : place + size]
            case 5 if rng.randrange(4) == 0:
                del out[at:]
    return bytes(out)


def everything(found: Explanation) -> str:
    """All that an explanation can be asked for."""
    page = found._repr_html_()
    json.dumps(found.as_data())
    for unit in found.units:
        unit.devices()
    return repr(found) + page


@pytest.mark.parametrize("seed", range(12))
def test_spoilt_texts_end_in_an_explanation(seed: int) -> None:
    rng = random.Random(seed)
    for data in TEXTS:
        spoilt = spoil(data, rng)
        begun = time.process_time()
        told = everything(explain(spoilt, redact=rng.random() < 0.2))
        assert time.process_time() - begun < 10
        assert "no machine has such numbers" not in told
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x80-\x9f]", told)


@pytest.mark.parametrize("seed", range(4))
def test_spoilt_texts_show_cards_and_tables(seed: int) -> None:
    rng = random.Random(1000 + seed)
    for data in rng.sample(TEXTS, 20):
        found = explain(spoil(data, rng))
        assert all(repr(card).startswith("<BitFieldCard") for card in found.cards()[:3])
        if found.units:
            assert repr(found.explorer()).startswith("<PageTableExplorer")


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 9, 36, 47, 48, 49, 51, 60, 70])
def test_a_table_that_is_cut_off_anywhere_is_told_as_far_as_it_goes(cut: int) -> None:
    data = (HERE / "public" / "dmar-x2apic-optout.bin").read_bytes()[:cut]
    assert everything(explain(data))
    if cut >= 4:
        assert any(note for piece in table_pieces(1, data) for note in piece.notes)


def test_a_table_of_very_many_structures_takes_time_in_proportion() -> None:
    data = (HERE / "public" / "dmar-drhd-address-0.bin").read_bytes()[:48]
    drhd = bytes([0, 0, 16, 0, 0, 0, 0, 0]) + bytes(8)
    spent = []
    for count in (500, 4000):
        table = data[:4] + (48 + 16 * count).to_bytes(4, "little") + data[8:] + drhd * count
        begun = time.process_time()
        everything(explain(table))
        spent.append(time.process_time() - begun)
    assert spent[1] < 8 * 4 * spent[0] + 1


LONG = {
    "one line": FAULT.rstrip("\n") * 20_000,
    "one letter": "a" * 1_000_000,
    "blanks": FAULT[:30] + " " * 1_000_000 + FAULT[30:],
    "digits": "DMAR: [DMA Read] Request device [00:02.0] fault addr " + "f" * 1_000_000,
    "brackets": "DMAR: " + "[" * 500_000 + "]" * 500_000,
    "quotes": ">" * 500_000 + FAULT,
    "rows": "Dump dmar1 table entries for IOVA 0x1\n" + "pte level: 4, pte value: 0x3\n" * 30_000,
    "heads": "Dump dmar1 table entries for IOVA 0x1\n" * 20_000,
    "no end of a message": "DMAR: [DMA Read] Request device\n" * 30_000,
    "locks": "l:" + " 1" * 300_000 + " .00",
    "hex": "0000: 44 4d 41 52" + " 00" * 300_000 + "\n" + "0010: 00\n" * 30_000,
}


@pytest.mark.parametrize("name", LONG)
def test_long_and_repeated_things_take_time_in_proportion(name: str) -> None:
    begun = time.process_time()
    everything(explain(LONG[name]))
    assert time.process_time() - begun < 10


def test_what_is_kept_of_a_text_is_bounded_and_the_rest_is_said() -> None:
    rows = "pte level: 4, pte value: 0x3\n" * 1000
    pieces = (
        ("Dump dmar1 table entries for IOVA 0x1\n" + rows).encode() for _ in range(MOST_ROWS // 1000 + 2)
    )
    found = explain_chunks("much", pieces)
    assert MOST_ROWS <= found.understood < found.lines
    assert found.summary().endswith("there are more tables than are told, and the rest was not read")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_any_encoding_will_do(encoding: str) -> None:
    found = explain(("Grüße\r\n" + FAULT).encode(encoding))
    assert "00:02.0 reads 0x1000; reason 06h" in repr(found)


def test_a_piece_that_ends_in_the_middle_of_anything_is_no_end() -> None:
    data = ("Gruß\r\n" + FAULT + TEXTS[0].decode()).encode()
    whole = repr(explain_chunks("x", [data]))
    for size in (1, 7, 64):
        assert repr(explain_chunks("x", [data[at : at + size] for at in range(0, len(data), size)])) == whole


NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>&\"'"


@pytest.mark.parametrize(
    "text",
    [
        f"{DMA} {NASTY}\n",
        f"  {NASTY}-lock:  13  14  0.10  2.20 30.30 4.40 50  60  0.10 0.20 9.30 0.40\n",
        f"{PERF} 5  1.00 s  1.00 s  1.00 s  spinlock   {NASTY}\n",
        f"DMAR: IOMMU feature {NASTY} inconsistent\n",
        f"BUG: KASAN: slab-use-after-free in {NASTY} domain_flush+0x1/0x2\nintel_iommu\n",
    ],
)
def test_a_page_does_not_obey_a_text(text: str) -> None:
    page = explain(text, name=NASTY)._repr_html_()
    assert "<script" not in page
    assert "<img" not in page


def test_a_terminal_does_not_obey_a_text_and_echoes_are_short() -> None:
    name = "\x1b]0;evil\x07" + "x" * 500
    text = f"  {name}: 13  14  0.10  2.20 30.30 4.40 50  60  0.10 0.20 9.30 0.40\n{FAULT[:-1]}{name}\n"
    told = repr(explain(text, name=name))
    assert "\x1b" not in told
    assert "\x07" not in told
    assert "x" * 81 not in told


PERSONAL = (
    "Nov  1 10:00:00 alices-laptop kernel: DMAR: [DMA Read] Request device [00:02.0] fault addr 0x1000 "
    "[fault reason 06] PTE Read access is not set\n"
    "Nov  1 10:00:01 alices-laptop kernel: BUG: soft lockup - CPU#1 stuck for 22s! [alices-laptop:12]\n"
)


def test_redaction_replaces_hosts_serials_and_addresses() -> None:
    found = explain(PERSONAL, name="alices-laptop.log", redact=True)
    assert "alices-laptop" not in repr(found) + found._repr_html_() + json.dumps(found.as_data())
    hide = found.hide
    for text in ("52:54:00:12:34:56", "alice@example.org", "192.168.1.20", "Serial Number: PF0XK3Q2"):
        assert text not in hide(f"before {text} after")
        assert hide(f"before {text} after").startswith("before ")
    assert hide("device 00:02.0, address 0x1000, 3.14") == "device 00:02.0, address 0x1000, 3.14"


# -- the verb -----------------------------------------------------------------


def test_the_verb_says_in_its_status_whether_anything_was_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, unknown = tmp_path / "known.log", tmp_path / "unknown.log"
    known.write_text(FAULT)
    unknown.write_text("nothing\n")
    assert commandline.main([str(known), str(unknown)]) == 0
    assert "00:02.0 reads 0x1000" in capsys.readouterr().out
    assert commandline.main([str(unknown)]) == 1
    assert "0 of 1 lines understood" in capsys.readouterr().out
    for missing in (tmp_path / "none", tmp_path):
        assert commandline.main([str(missing)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1


def test_the_verb_prints_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "known.log").write_text(FAULT)
    assert commandline.main(["--json", str(tmp_path / "known.log")]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["understood"] == told["lines"] == 1
    (piece,) = told["pieces"]
    assert (piece["kind"], piece["line"], piece["checks"]) == ("DMA fault", 1, ["LGN.3"])


def test_the_verb_reads_standard_input_and_shows_progress_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(FAULT.encode())))
    assert commandline.main(["--progress"]) == 0
    out, err = capsys.readouterr()
    assert "00:02.0 reads 0x1000" in out
    assert "0 MB" in err
    (tmp_path / "large.log").write_bytes(FAULT.encode() + b"nothing\n" * 400_000)
    assert commandline.main(["--progress", str(tmp_path / "large.log")]) == 0
    out, err = capsys.readouterr()
    assert "1 of 400,001 lines understood; the rest is not about DMAR" in out
    assert "100%" in err
    assert "100%" not in out


def test_of_nothing_it_says_so() -> None:
    assert repr(explain(b"", name="log")) == "log: nothing is in it"
