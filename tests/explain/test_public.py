"""The first set of public data: fault lines, debugfs rows, tables, registers, lock_stat rows, with their
right answers."""

from __future__ import annotations

from html import escape
from pathlib import Path

import pytest

from vtdkit.explain.reading import explain
from vtdkit.explain.report import Explanation, Piece
from vtdkit.vtd.capabilities import Capabilities

PUBLIC = Path(__file__).parent / "public"


def told(name: str) -> Explanation:
    return explain(PUBLIC / name)


def piece(found: Explanation, title: str) -> Piece:
    return next(each for each in found.pieces if title in each.title)


@pytest.mark.parametrize(
    ("title", "checks"),
    [
        ("00:02.0 reads 0x70ad5000; reason 07h", ("LSS.1",)),
        ("00:02.0 reads 0x9c000000; reason 06h", ("LGN.3",)),
        ("00:02.0 writes 0x0; reason 02h", ("LCT.2",)),
        ("00:02.0 reads 0x70a28000; reason 0Ch", ("LSS.2",)),
        ("7a:02.0 PASID 0x2 reads 0x7f81c968d000; reason 71h", ("SFS.2",)),
        ("f0:1f.0 interrupt with index 0x0; reason 25h", ("IR.25",)),
        ("vtd_iova_to_slpte: detected splte reserve non-zero", ("LSS.2",)),
        ("vtd_iova_to_slpte: detected slpte permission error", ("LGN.3",)),
    ],
)
def test_each_fault_line_says_who_what_where_and_which_check(title: str, checks: tuple[str, ...]) -> None:
    assert piece(told("fault-lines.txt"), title).checks == checks


def test_the_descriptor_before_a_time_out_names_the_device() -> None:
    found = told("fault-lines.txt")
    assert "device 53:00.0" in piece(found, "dev_tlb_inv_dsc").title
    assert "the upper word is not in the text: unknown" in piece(found, "dev_tlb_inv_dsc").notes
    assert found.understood == found.lines == 11


def test_a_snoop_bit_in_a_unit_without_snoop_control_is_named() -> None:
    assert (
        "SNP (bit 11) is reserved in a unit without SC"
        in piece(told("fault-lines.txt"), "splte reserve").notes
    )


def test_a_printed_fault_and_the_printed_memory_disagree_and_that_is_the_finding() -> None:
    dump = piece(told("dump-0x51.txt"), "dmar1, 00:0d.2")
    assert dict(dump.facts)["verdict"].startswith("memory as printed translates: 0x1026a4000 (pass-through")
    assert "not flushed in time" in dump.notes[0]
    assert "before 6.3" in dump.notes[0]
    assert dump.bits == ("PASID table entry", 1 << 64 | 0x109)


def test_debugfs_rows_of_both_orders_are_told_apart() -> None:
    found = told("dmar_translation_struct.txt")
    titles = [each.title for each in found.pieces if "DID" in each.title]
    assert titles == [
        "00:02.0: legacy, translation type 01b, second stage; translation and translated requests too, table "
        "0x10303f000, 4 levels, DID 1",
        "00:0a.0 PASID 0: second stage, 4 levels, table 0x1038a5000, DID 2",
        "00:02.0 PASID 0: first stage, 4 levels, table 0x105a86000, DID 2",
        "00:0a.0 PASID 0: second stage, 4 levels, table 0x44d6e1000, DID 3",
    ]
    notes = [note for each in found.pieces for note in each.notes]
    assert sum("word 0 is printed last" in note for note in notes) == 2
    assert sum("word 0 is printed first" in note for note in notes) == 1
    assert any("HPTE" in note and "HPTS" in note for note in notes)
    assert any("EPTR" in note and "PTRS" in note for note in notes)


def test_every_pair_of_registers_is_decoded() -> None:
    found = told("caps.txt")
    assert len(found.pieces) == 13
    for each in found.pieces:
        name, _, rest = each.title.partition(": CAP ")
        cap, ecap = (int(word, 16) for word in rest.replace("ECAP", "").split(", "))
        caps = Capabilities.from_registers(cap, ecap)
        assert (caps.cap, caps.ecap) == (cap, ecap), name
        old = any("extended mode, which scalable mode replaced" in note for note in each.notes)
        assert old == (ecap >> 24 & 1 == 1 and cap != (1 << 64) - 1), name
    assert "nobody answers" in found.pieces[-1].means


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "dmar-drhd-address-0.bin",
            ("offset 0x30: DRHD at address 0", "DMAR reported at address 0!", "does not use the unit"),
        ),
        ("dmar-rmrr-0-to-0.bin", ("offset 0x78: RMRR 0x0 to 0x0 is not a range of whole pages",)),
        ("dmar-x2apic-optout.bin", ("X2APIC_OPT_OUT without INTR_REMAP",)),
        (
            "dmar-bad-checksum-trailing.bin",
            ("checksum is 0xb3", "ask for 0xd7", "offset 0x6a", "no unit is used"),
        ),
    ],
)
def test_every_oddity_of_a_table_is_named(name: str, wanted: tuple[str, ...]) -> None:
    notes = "\n".join(told(name).pieces[0].notes)
    assert not [want for want in wanted if want not in notes], notes


def test_sound_structures_are_shown_before_the_place_where_reading_stops() -> None:
    titles = [each.title for each in told("dmar-bad-checksum-trailing.bin").pieces]
    assert [title.split(",")[0] for title in titles[1:]] == [
        "DRHD at offset 0x30: unit at 0xfed90000",
        "DRHD at offset 0x48: unit at 0xfed91000",
    ]


@pytest.mark.parametrize("name", sorted(path.name for path in PUBLIC.glob("*.bin")))
def test_a_table_says_the_same_as_binary_and_as_text(name: str) -> None:
    raw = (PUBLIC / name).read_bytes()
    rows = [f"    {at:04X}: {raw[at : at + 16].hex(' ').upper()}  ......" for at in range(0, len(raw), 16)]
    acpidump = explain("\n".join(["DMAR @ 0x0000000000000000", *rows]))
    xxd = explain(
        "\n".join(f"{at:08x}: {raw[at : at + 16].hex(' ', -2)}  ......" for at in range(0, len(raw), 16))
    )
    wanted = [each.as_data() | {"line": 0} for each in told(name).pieces]
    assert [each.as_data() | {"line": 0} for each in acpidump.pieces] == wanted
    assert [each.as_data() | {"line": 0} for each in xxd.pieces] == wanted
    assert acpidump.understood == acpidump.lines


def test_lock_stat_is_read_into_records_and_printed_again_byte_for_byte() -> None:
    raw = (PUBLIC / "lock_stat-real.txt").read_text(encoding="utf-8")
    found = told("lock_stat-real.txt")
    printed = repr(found.locks).splitlines(keepends=True)
    assert "".join(line for line in printed if line[-2:-1].isdigit() and ":" in line) == raw
    classes = {row.name: row for row in found.locks}
    assert classes["&mm->mmap_lock#2"].write.contentions == 1328
    assert classes["&type->s_umount_key#4"].subclass == 1


def test_locks_of_a_real_machine_are_drawn_beside_those_of_the_nearest_simulated_run() -> None:
    found = told("lock_stat-real.txt")
    alone, both = found.figure(simulated=False), found.figure()
    first = max(found.locks, key=lambda row: row.write.wait_total + row.read.wait_total).name
    assert alone.label.startswith(f"this machine: {first} ")
    assert both.label.startswith(alone.label + "; simulated: 6.0-rc5, 8 CPUs unmapping: ")
    assert "&qi->q_lock" in both.label.removeprefix(alone.label)
    assert escape(first)[:40] in alone.svg
    assert "simulated" not in alone.svg


PERF = """ contended   total wait     max wait     avg wait         type   caller
         5     10.00 us      4.00 us      2.00 us     spinlock   device_domain_lock
         1      1.00 us      1.00 us      1.00 us        mutex   iommu_group_mutex<b>
"""


def test_rows_of_perf_are_drawn_too_and_a_text_without_locks_says_so() -> None:
    found = explain(PERF)
    assert [(row.what, row.contended, row.wait_total) for row in found.waits] == [
        ("device_domain_lock", 5, 10_000),
        ("iommu_group_mutex<b>", 1, 1_000),
    ]
    picture = found.figure()
    assert "simulated: before the series, 8 CPUs unmapping" in picture.label
    assert "<b>" not in picture.svg
    with pytest.raises(ValueError, match="no lock statistics"):
        explain("nothing of the kind").figure()
