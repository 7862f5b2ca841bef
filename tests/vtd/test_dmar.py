"""The ACPI DMAR table: real ones, made ones, broken ones."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.vtd.firmware.dmar import (
    Andd,
    Atsr,
    BadDmar,
    Dmar,
    Drhd,
    Remapping,
    Rhsa,
    Rmrr,
    Satc,
    Scope,
    Sidp,
    Unknown,
    parse,
)

REAL = sorted((Path(__file__).parent.parent / "reality").glob("*/dmar.bin"))

BYTES = st.integers(0, 255)
SCOPES = st.lists(
    st.builds(
        Scope,
        BYTES,
        BYTES,
        st.lists(st.tuples(BYTES, BYTES), max_size=3).map(tuple),
        BYTES,
        BYTES,
        BYTES,
    ),
    max_size=3,
).map(tuple)
SEGMENTS, ADDRESSES = st.integers(0, 0xFFFF), st.integers(0, (1 << 64) - 1)
DWORDS = st.integers(0, (1 << 32) - 1)
STRUCTURES: st.SearchStrategy[Remapping] = st.one_of(
    st.builds(Drhd, ADDRESSES, BYTES, segment=SEGMENTS, flags=BYTES, scopes=SCOPES),
    st.builds(Rmrr, ADDRESSES, ADDRESSES, segment=SEGMENTS, scopes=SCOPES, reserved=SEGMENTS),
    st.builds(Atsr, segment=SEGMENTS, flags=BYTES, scopes=SCOPES, reserved=BYTES),
    st.builds(Rhsa, ADDRESSES, DWORDS, reserved=DWORDS),
    st.builds(
        Andd,
        BYTES,
        st.binary(max_size=20).map(lambda b: b + b"\0"),
        reserved=st.binary(min_size=3, max_size=3),
    ),
    st.builds(Satc, segment=SEGMENTS, flags=BYTES, scopes=SCOPES, reserved=BYTES),
    st.builds(Sidp, segment=SEGMENTS, scopes=SCOPES, reserved=SEGMENTS),
    st.builds(Unknown, st.integers(7, 0xFFFF), st.binary(max_size=20)),
)
TABLES = st.builds(Dmar, st.integers(1, 256), BYTES, st.lists(STRUCTURES, max_size=5).map(tuple))


@pytest.mark.parametrize("path", REAL, ids=lambda p: p.parent.name)
def test_real_tables_round_trip_byte_for_byte(path: Path) -> None:
    raw = path.read_bytes()
    table = parse(raw)
    assert table.to_bytes() == raw
    assert table.problems() == []
    drhd, *rest = table.structures
    assert isinstance(drhd, Drhd)
    assert (drhd.base, drhd.include_all, drhd.scopes[0]) == (0xFED9_0000, False, Scope(3, 0xFF, ((0, 0),)))
    assert [part.flags for part in rest if isinstance(part, Atsr)] == [1]
    assert table.host_address_width in (39, 48)


def test_a_bare_units_table_is_seventy_two_bytes() -> None:
    table = Dmar(48, 1, (Drhd(0xFED9_0000, scopes=(Scope(3, 0xFF, ((0, 0),)),)),))
    raw = table.to_bytes()
    assert len(raw) == 72
    assert sum(raw) & 0xFF == 0
    assert raw[36:38] == bytes((47, 1))


@given(table=TABLES)
@settings(max_examples=150, deadline=None)
def test_every_table_round_trips(table: Dmar) -> None:
    assert parse(table.to_bytes()) == table


@given(
    table=TABLES, cut=st.integers(0, 400), noise=st.lists(st.tuples(st.integers(0, 400), BYTES), max_size=4)
)
@settings(max_examples=300, deadline=None)
def test_damaged_tables_give_one_clear_error_or_another_table(
    table: Dmar, cut: int, noise: list[tuple[int, int]]
) -> None:
    raw = bytearray(table.to_bytes())
    for at, value in noise:
        if at < len(raw):
            raw[at] = value
    raw = raw[: len(raw) - cut] if cut < 40 else raw
    if len(raw) >= 48:
        raw[9] = (raw[9] - sum(raw[: struct.unpack_from("<I", raw, 4)[0]])) & 0xFF
    complaint: BadDmar | None = None
    try:
        again = parse(bytes(raw))
    except BadDmar as error:
        complaint = error
    if complaint is None:
        assert again.to_bytes() == bytes(raw[: len(again.to_bytes())])
    else:
        assert str(complaint).startswith(f"DMAR, offset {complaint.offset:#x}: ")
        assert 0 <= complaint.offset <= max(len(raw), 48)


HEAD = Dmar(48).to_bytes()


def table_with(*structures: bytes) -> bytes:
    body = b"".join(structures)
    raw = bytearray(HEAD + body)
    struct.pack_into("<I", raw, 4, len(raw))
    raw[9] = 0
    raw[9] = -sum(raw) & 0xFF
    return bytes(raw)


@pytest.mark.parametrize(
    ("raw", "offset", "problem"),
    [
        (b"DMAR", 4, "ends inside its header"),
        (b"XMAR" + HEAD[4:], 0, "signature is b'XMAR'"),
        (HEAD[:4] + b"\xff\0\0\0" + HEAD[8:], 4, "length 255 does not fit in 48 bytes"),
        (table_with(b"\0\0\x10"), 48, "ends inside a structure's head"),
        (table_with(b"\0\0\x03\0"), 50, "says it is 3 bytes long"),
        (table_with(b"\0\0\x40\0"), 50, "says it is 64 bytes long"),
        (table_with(b"\0\0\x08\0" + bytes(4)), 50, "type 0 needs 16 bytes, has 8"),
        (table_with(b"\x03\0\x18\0" + bytes(20)), 50, "RHSA is 24 bytes long, not 20"),
        (table_with(b"\0\0\x16\0" + bytes(12) + b"\1\5\0\0\0\0"), 64, "device scope says it is 5 bytes long"),
        (table_with(b"\2\0\x0e\0" + bytes(4) + b"\2\7\0\0\0\0"), 56, "device scope says it is 7 bytes long"),
        (table_with(b"\2\0\x09\0" + bytes(4) + b"\2"), 56, "device scope says it is 0 bytes long"),
    ],
)
def test_malformed_tables_say_where_and_what(raw: bytes, offset: int, problem: str) -> None:
    with pytest.raises(BadDmar, match=problem) as caught:
        parse(raw)
    assert caught.value.offset == offset


def test_broken_rules_are_listed_not_raised() -> None:
    port, endpoint = Scope(2, 0, ((1, 0),)), Scope(1, 0, ((1, 0),))
    table = Dmar(
        48,
        2,
        (
            Atsr(flags=1, scopes=(port,)),
            Drhd(0xFED9_1000, size=1, flags=1, scopes=(endpoint,)),
            Drhd(0xFED9_4000),
            Rmrr(0x1000, 0x1FFE),
            Atsr(scopes=(endpoint,)),
            Satc(scopes=(port,)),
        ),
    )
    assert table.problems() == [
        "structures are not in ascending order of type",
        "X2APIC_OPT_OUT without INTR_REMAP",
        "ATSR covers all ports and still lists some",
        "DRHD 0xfed91000 is not aligned to its window of 0x2000 bytes",
        "DRHD 0xfed91000 includes everything and still lists PCI devices",
        "DRHD 0xfed94000 follows the one that includes the rest of its segment",
        "RMRR 0x1000 to 0x1ffe is not a range of whole pages",
        "ATSR lists something that is no root port",
        "SATC lists something that is no endpoint",
    ]


PUBLIC = Path(__file__).parent / "public"


@pytest.mark.parametrize(
    ("name", "problems"),
    [
        ("drhd-address-0", ["DRHD at address 0: no unit can be there, and none is used"]),
        ("rmrr-0-to-0", ["RMRR 0x0 to 0x0 is not a range of whole pages"]),
        ("x2apic-optout", ["X2APIC_OPT_OUT without INTR_REMAP"]),
    ],
)
def test_tables_of_real_machines_are_read_and_their_faults_named(name: str, problems: list[str]) -> None:
    """§3.3: what Linux warns about when it reads these."""
    raw = (PUBLIC / f"dmar-{name}.bin").read_bytes()
    table = parse(raw)
    assert table.problems() == problems
    assert table.to_bytes() == raw


def test_what_is_sound_is_shown_then_where_reading_stopped_and_why() -> None:
    """§3.3: a wrong checksum, both sums named, and other memory behind the last structure."""
    raw = (PUBLIC / "dmar-bad-checksum-trailing.bin").read_bytes()
    with pytest.raises(BadDmar, match="type 17217 says it is 18768 bytes long, where 80 are left") as caught:
        parse(raw)
    assert caught.value.offset == 0x6A
    table = caught.value.table
    assert table is not None
    assert [part.base for part in table.structures if isinstance(part, Drhd)] == [0xFED9_0000, 0xFED9_1000]
    due = raw[9] - sum(raw) & 0xFF
    assert table.problems() == [f"checksum is 0xb3, the bytes of the table ask for {due:#04x}"]


def test_a_table_with_a_wrong_checksum_is_read_and_written_as_it_was() -> None:
    """§3.3: the checksum error names both sums."""
    good = Dmar(48, structures=(Drhd(0xFED9_0000),)).to_bytes()
    raw = good[:9] + bytes(((good[9] + 1) & 255,)) + good[10:]
    table = parse(raw)
    assert table.problems() == [
        f"checksum is {raw[9]:#04x}, the bytes of the table ask for {good[9]:#04x}",
    ]
    assert table.to_bytes() == raw


UNIT = Drhd(0xFED9_0000, scopes=(Scope(3, 0xF0, ((0x1F, 0),)),))


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (Dmar(46), "no DRHD: the table names no remapping unit"),
        (
            Dmar(46, 1, (Drhd(0xFED9_0000, flags=1),)),
            "INTR_REMAP, and no DRHD has an IOAPIC in its scope: its interrupts cannot be remapped",
        ),
        (
            Dmar(46, 1, (Drhd(0x1000, scopes=(*UNIT.scopes, Scope(5, 0, ((0x1E, 2),), 7))),)),
            "a device scope names ACPI device 7, and no ANDD does",
        ),
        (
            Dmar(46, 1, (UNIT, Andd(9, b"\\_SB.I2C0\0"))),
            "ANDD names ACPI device 9, and no DRHD has it in its scope",
        ),
        (Dmar(256, 1, (UNIT,)), "host address width 256: it is 12 to 52 bits, as table entries hold"),
        (Dmar(11, 1, (UNIT,)), "host address width 11: it is 12 to 52 bits, as table entries hold"),
        (Dmar(46, 1, (UNIT, Rhsa(0xFED8_0000, 1))), "RHSA names a unit at 0xfed80000, and there is none"),
        (
            Dmar(46, 1, (UNIT, Rmrr(0x1000, 0x1FFF, scopes=(Scope(9, 0, ((1, 0),)),)))),
            "RMRR has a device scope of type 9, which nobody knows",
        ),
    ],
)
def test_what_linux_would_warn_about_is_named(table: Dmar, problem: str) -> None:
    """§3.3, as its kind."""
    assert parse(table.to_bytes()).problems() == [problem]


def test_an_andd_name_without_its_end_is_read_and_named() -> None:
    raw = table_with(b"\x04\0\x09\0" + b"\0\0\0\1A")
    assert "ANDD name of ACPI device 1 does not end in NUL" in parse(raw).problems()
    assert parse(raw).to_bytes() == raw


@pytest.mark.parametrize(
    "text",
    [
        "DMAR @ 0x00000000BA82D000\n    0000: 44 4D 41 52 B8 00 00 00 01 B3 49 4E 54 45 4C 20  DMAR....",
        "    0000: 44 4D 41 52 B8 00 00 00 01 B3 49 4E 54 45 4C 20  DMAR......INTEL ",
    ],
)
def test_the_text_of_acpidump_is_told_from_a_table(text: str) -> None:
    """§3.3: it was read as a table of 807419936 bytes."""
    with pytest.raises(BadDmar) as caught:
        parse(text.encode())
    assert str(caught.value) == (
        "DMAR, offset 0x0: this is text, as acpidump prints it; the table itself is wanted (acpidump -b)"
    )
