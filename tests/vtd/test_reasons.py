"""Every condition of the fault tables is reached, with its code, its response and its place in the
records.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import vtdkit
from vtdkit.vtd.faults.reasons import LINUX_REASONS, REASONS, linux_reason
from vtdkit.vtd.requests import Fault, Translation

from .cases import CASES, Case

# Label, code, responses to untranslated / translation / translated / page requests, qualified by FPD. Retyped
# from the specification's tables (rev 5.10), so that a slip in the package's own table shows.
EXPECTED = {
    "RTA": [
        ("1.1", 0x30, "UR CA UR IR n"),
        ("1.2", 0x30, "UR CA UR IR n"),
        ("1.3", 0x30, "UR CA UR IR n"),
        ("1.4", 0x30, "UR CA UR - n"),
        ("2", 0x31, "UR UR UR - n"),
        ("3", 0x32, "- - - IR n"),
        ("4", 0x33, "UR UR UR IR n"),
        ("5", 0x34, "UR UR UR - n"),
    ],
    "LRT": [("1", 8, "UR CA UR - n"), ("2", 1, "UR UR UR - n"), ("3", 0xA, "UR CA UR - n")],
    "LCT": [
        ("1", 9, "UR CA UR - n"),
        ("2", 2, "UR UR UR - q"),
        ("3", 0xB, "UR CA UR - q"),
        ("4.1", 3, "UR CA UR - q"),
        ("4.2", 3, "UR CA UR - q"),
        ("4.3", 3, "UR CA - - q"),
        ("5", 0xD, "- UR UR - q"),
    ],
    "LGN": [
        ("1.1", 4, "UR S0 - - q"),
        ("1.2", 4, "- - UR - q"),
        ("1.3", 4, "UR - - - q"),
        ("2", 5, "UR Seff - - q"),
        ("3", 6, "UR Seff - - q"),
        ("4", 0xE, "UR CA UR - q"),
    ],
    "LSS": [("1", 7, "UR CA - - q"), ("2", 0xC, "UR CA - - q")],
    "SRT": [("1", 0x38, "UR CA UR IR n"), ("2", 0x39, "UR UR UR IR n"), ("3", 0x3A, "UR CA UR IR n")],
    "SCT": [
        ("1", 0x40, "UR CA UR IR n"),
        ("2", 0x41, "UR UR UR IR q"),
        ("3", 0x42, "UR CA UR IR q"),
        ("4.1", 0x43, "UR CA UR IR q"),
        ("4.2", 0x43, "UR CA UR IR q"),
        ("4.3", 0x43, "UR CA UR IR q"),
        ("5", 0x44, "- UR UR - q"),
        ("6", 0x45, "UR UR - IR q"),
        ("7", 0x46, "UR UR UR IR q"),
        ("8", 0x47, "- - - IR q"),
        ("9", 0x48, "UR UR UR IR q"),
        ("10", 0x49, "- - UR - q"),
    ],
    "SPD": [("1", 0x50, "UR CA CA IR n"), ("2", 0x51, "UR S0 UR IR q"), ("3", 0x52, "UR CA CA IR q")],
    "SPT": [
        ("1", 0x58, "UR CA CA IR n"),
        ("2", 0x59, "UR S0 UR IR q"),
        ("3", 0x5A, "UR CA CA IR q"),
        ("4.1", 0x5B, "UR CA CA IR q"),
        ("4.2", 0x5B, "UR CA CA IR q"),
        ("4.3", 0x5B, "UR CA CA IR q"),
        ("4.4", 0x5B, "UR CA CA IR q"),
        ("5", 0x5C, "UR S0 - - q"),
        ("6", 0x5D, "UR S0 - - q"),
        ("9", 0x60, "- - UR - q"),
    ],
    "SFS": [
        (str(n), code, "UR S0 - - q")
        for n, code in zip(
            range(1, 11), (0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x90, 0x91), strict=True
        )
    ],
    "SSS": [
        ("1", 0x78, "UR CA - - q"),
        ("2", 0x79, "UR S0 - - q"),
        ("3", 0x7A, "UR CA - - q"),
        ("4", 0x7B, "UR CA - - q"),
        ("5", 0x7C, "UR CA - - q"),
        ("6", 0x7D, "UR CA - - q"),
    ],
    "SGN": [
        ("1", 0x80, "UR S0 - - q"),
        ("2", 0x81, "UR S0 - - q"),
        ("4.1", 0x83, "- - UR - q"),
        ("4.2", 0x83, "UR S0 - - q"),
        ("5", 0x84, "UR S0 - - q"),
        ("6", 0x85, "UR Seff - - q"),
        ("7", 0x86, "UR Seff - - q"),
        ("8.1", 0x87, "UR - - - q"),
        ("8.2", 0x87, "- CA - - q"),
        ("8.3", 0x87, "- - UR - q"),
        ("10", 0x89, "UR UR UR - q"),
    ],
    "HPT": [
        ("A0", 0xA0, "- - CA - q"),
        ("A1", 0xA1, "- - CA - q"),
        ("A2", 0xA2, "- - CA - q"),
        ("A3", 0xA3, "- - UR - q"),
        ("A4", 0xA4, "- - UR - q"),
        ("A5", 0xA5, "- - UR - q"),
    ],
    "IR": [
        (f"{code:X}", code, f"UR - - - {'q' if code in (0x22, 0x24, 0x26, 0x27, 0x28) else 'n'}")
        for code in range(0x20, 0x2C)
    ],
}
ROWS = {f"{family}.{number}": (code, row) for family, rows in EXPECTED.items() for number, code, row in rows}
NOT_REMAPPING = {"PMR", "TES", "AT"}
# Page requests, interrupts in posted format, the host permission table: their conditions are listed, and
# nothing here reaches them.
NOT_MODELLED = {label for label in REASONS if label.startswith("HPT.")}
NOT_MODELLED |= {"RTA.3", "SCT.8", "SPT.9", "IR.27", "IR.28"}


def answer_of(built: Case) -> Translation | Fault:
    return built.unit.translate(built.request)


def refusal(answer: Translation | Fault) -> Fault:
    """The fault behind an answer: itself, or what an empty success hides."""
    fault = answer if isinstance(answer, Fault) else answer.why
    assert fault is not None, answer
    return fault


def test_the_table_of_conditions_is_the_specifications() -> None:
    ours = {
        label: (
            r.code,
            f"{r.untranslated} {r.translation} {r.translated} {r.page} {'q' if r.qualified else 'n'}",
        )
        for label, r in REASONS.items()
        if label not in NOT_REMAPPING
    }
    assert ours == ROWS


def test_no_condition_is_without_a_scenario() -> None:
    assert set(CASES) == set(REASONS) - NOT_MODELLED


@pytest.mark.parametrize("label", CASES)
def test_each_condition_is_reached_and_reported(label: str) -> None:
    built = CASES[label]()
    answer = answer_of(built)
    fault = refusal(answer)
    assert fault.label == label
    assert fault.code == REASONS[label].code
    request = built.request
    expected = {
        "untranslated": REASONS[label].untranslated,
        "translation": REASONS[label].translation,
        "translated": REASONS[label].translated,
    }[request.at]
    assert fault.response == expected
    recorded = bool(built.unit.faults.records()[0].F)
    assert recorded is (label not in NOT_REMAPPING)
    if recorded:
        assert REASONS[label].code == built.unit.faults.records()[0].FR


TABLE_CONDITIONS = [
    label
    for label in REASONS
    if label.startswith(
        (
            "SRT",
            "SPD",
            "LRT",
            "SSS.",
            "SFS.",
            "SPT.1",
            "SPT.2",
            "SPT.3",
            "SPT.4",
            "SCT.1",
            "SCT.2",
            "SCT.3",
            "SCT.4",
            "LCT.1",
            "LCT.2",
            "LCT.3",
        )
    )
    and label not in ("SCT.10", "LCT.4.3")
]


@pytest.mark.parametrize("label", TABLE_CONDITIONS)
def test_a_translation_request_gets_the_response_of_its_own_column(label: str) -> None:
    built = CASES[label]()
    request = built.request
    answer = built.unit.translate(replace(request, at="translation"))
    fault = refusal(answer)
    expected = REASONS[label].translation
    assert (fault.label, fault.response) == (label, expected)
    if expected in ("S0", "Seff"):
        assert isinstance(answer, Translation)
        assert (answer.readable, answer.writable) == (False, False)
        assert fault.recorded is (label == "SFS.10")
        assert bool(built.unit.faults.records()[0].F) is (label == "SFS.10")
    else:
        assert isinstance(answer, Fault)
        assert fault.recorded


# FPD: one bit in each of three places, looked at also where P is 0.
FPD_PLACES = {
    "context": ("SCT.", "SPD.2", "SPD.3", "SPT.", "SSS.", "SFS.", "SGN."),
    "directory": ("SPD.2", "SPD.3", "SPT.", "SSS.", "SFS.", "SGN."),
    "entry": ("SPT.", "SSS.", "SFS.", "SGN."),
}
NEVER = {"SGN.10", "SCT.1", "SPD.1", "SPT.1"}


# Conditions that an FPD bit can precede, less requests that never get to the entry.
FPD_LABELS = [
    label
    for label in CASES
    if label.startswith(("SRT", "SCT", "SPD", "SPT", "SSS", "SFS", "SGN"))
    and label not in ("SRT.2", "SCT.7", "SGN.10", "SPT.9")
]


@pytest.mark.parametrize("label", FPD_LABELS)
@pytest.mark.parametrize("place", FPD_PLACES)
def test_fpd_at_each_level_silences_what_comes_after_it(label: str, place: str) -> None:
    built = CASES[label]()
    tables, request = built.tables, built.request
    context = tables.sm_context_at()
    directory = tables.memory[context] & ~0xFFF
    pasid = 7 if request.pasid is None else request.pasid
    entry = (tables.memory[directory] & ~0xFFF) + 64 * (pasid & 63)
    tables.memory[{"context": context, "directory": directory, "entry": entry}[place]] |= 2
    fault = refusal(built.unit.translate(request))
    assert fault.label == label
    seen = label.startswith(FPD_PLACES[place]) and label not in NEVER
    if request.at == "translated":
        seen = seen and place == "context"
    recoverable = fault.response in ("S0", "Seff") and label != "SFS.10"
    assert fault.recorded is not ((seen and REASONS[label].qualified) or recoverable)


def test_linux_has_a_text_for_every_code_of_its_three_lists() -> None:
    """§1.18: 07h to 0Bh, all scalable-mode codes and interrupt remapping have texts; others none."""
    known = {code for code in range(256) if linux_reason(code) != "Unknown"}
    scalable = {
        *range(0x30, 0x33),
        *range(0x38, 0x3B),
        *range(0x40, 0x49),
        *range(0x50, 0x53),
        *range(0x58, 0x5E),
        *range(0x70, 0x7D),
        *range(0x80, 0x88),
        0x90,
    }
    assert known == {*range(0xE), *range(0x20, 0x27), *scalable}
    for code in known:
        assert linux_reason(code).startswith("SM: ") is (code in scalable)


def test_linux_prints_the_texts_that_machines_have_printed() -> None:
    """§1.18: the reason texts of fault lines from real machines, decimal codes and hex ones."""
    seen = {}
    for line in (Path(__file__).parent / "public" / "fault-lines.txt").read_text().splitlines():
        found = re.search(r"\[fault reason (?:0x([0-9a-f]+)|(\d+))\] (.*)", line)
        if found:
            seen[int(found[1], 16) if found[1] else int(found[2])] = found[3]
    assert set(seen) == {0x2, 0x6, 0x7, 0xC, 0x25, 0x71}
    assert {code: linux_reason(code) for code in seen} == seen


def test_a_condition_knows_what_linux_prints_for_it() -> None:
    assert linux_reason(0x71) == "SM: Present bit in first-level paging entry is clear"
    assert linux_reason(0xE) == "Unknown"


def test_no_other_file_has_the_texts_of_its_own() -> None:
    """§1.18: one table of reasons serves hardware, driver and lessons."""
    package = Path(vtdkit.__file__).parent
    files = [*package.rglob("*.py"), *(package.parent / "notebooks").rglob("*.py")]
    others = [path for path in files if path.name != "reasons.py"]
    texts = {*LINUX_REASONS.values(), *(reason.name for reason in REASONS.values())}
    told = {text for text in texts if len(text) > 30}
    assert len(told) > 80
    for path in others:
        found = [text for text in told if text in path.read_text(encoding="utf-8")]
        assert not found, (path.name, found)
