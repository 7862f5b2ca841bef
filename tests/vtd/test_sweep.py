"""Every bit of every structure, flipped in an entry that was right: reserved bits fault, ignored ones change
nothing.

What is reserved and what is ignored comes from the declarations; whether the walk acts on it is what is
tested. The structures are in memory that plain builders made.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Fault, Translation
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.tables import entries as tables
from vtdkit.vtd.tables import pages as stages
from vtdkit.vtd.tables.interrupts import IRTE, IRTE_POSTED
from vtdkit.vtd.tables.layout import Structure
from vtdkit.vtd.unit.unit import RemappingUnit

from .cases import IRTE_HIGH, IRTE_LOW, interrupts, msi
from .rig import FSTS, IQA, IQERCD, IQT, QIE, RW, Tables, bring_up, command, legacy, read, scalable

PLAIN = Capabilities(HAW=46)
SMALL = Capabilities(HAW=39, MGAW=39, SAGAW=0b00010, ND=3, SC=0, DT=0, SSLPS=0, PT=0)
FULL = Capabilities.scalable(HAW=46)
BARE = Capabilities.scalable(
    HAW=40, SRS=0, RPRIVS=0, RPS=0, PRS=0, PDS=0, MTS=0, EAFS=0, SSADS=0, SC=0, PASID=0
)
DEEP = Capabilities.scalable(HAW=50, MGAW=57, SAGAW=0b01110, FS5LP=1)

# A case: the structure, where it is, its reserved-bit label, the unit, and the translation type it serves.
Case = tuple[Structure, int, str, RemappingUnit, Tables, str]


def legacy_case(which: str, caps: Capabilities) -> Case:
    aw = caps.widths.index(min(48, caps.widths[-1])) + caps.SAGAW.bit_length() - len(caps.widths)
    made, root = legacy(aw=aw)
    made.map(root, 0x1000, 0x20_0000, levels=aw + 2)
    at = {"root": made.root, "context": made.context_at()}[which]
    layout = {"root": tables.ROOT_ENTRY, "context": tables.CONTEXT_ENTRY}[which]
    return layout, at, {"root": "LRT.3", "context": "LCT.3"}[which], made.unit(caps, cached=False), made, "SS"


def scalable_case(which: str, caps: Capabilities, path: str = "SS") -> Case:
    flags = 0x1C if caps.PASID else 0x04
    made, directory, entry, root = scalable(path, caps, flags=flags, rid_pasid=7 if caps.RPS else 0)
    middle = RW if path == "SS" else 0x27
    if path != "PT":
        made.map(root, 0x1000, 0x20_0000, bits=RW if path == "SS" else 0x67, middle=middle)
    if path == "NEST":
        made.map(made.memory[entry] & ~0xFFF, 0, 0, size=1 << 30)
    places = {
        "root": (tables.SM_ROOT_ENTRY, made.root, "SRT.3"),
        "context": (tables.SM_CONTEXT_ENTRY, made.sm_context_at(), "SCT.3"),
        "directory": (tables.PASID_DIR_ENTRY, directory, "SPD.3"),
        "entry": (tables.PASID_ENTRY, entry, "SPT.3"),
    }
    layout, at, label = places[which]
    return layout, at, label, made.unit(caps, mode=1, cached=False), made, path


def page_case(path: str, level: int, size: int, caps: Capabilities) -> Case:
    """The entry at `level` on the way to a page of `size` bytes; five levels where the unit has them."""
    levels = 5 if caps.FS5LP else 4
    if path == "SS":
        made, root = legacy(aw=levels - 2)
        bits = middle = RW
    else:
        plain = caps is BARE
        fspm = (levels - 4) << 2
        made, _, _, root = scalable(path, flags=4 if plain else 0x1C, rid_pasid=0 if plain else 7, w2=fspm)
        bits, middle = 0x67, 0x27
    made.map(root, 0, 5 << 30, size=size, bits=bits, middle=middle, levels=levels)
    table = root
    for _ in range(levels - level):
        table = made.memory[table] & 0x000F_FFFF_FFFF_F000
    leaf = {4096: 1, 1 << 21: 2, 1 << 30: 3}[size] == level
    layout = (stages.second_stage_entry if path == "SS" else stages.first_stage_entry)(level, leaf=leaf)
    unit = made.unit(caps, mode=int(path == "FS"), cached=False)
    return layout, table, "LSS.2" if path == "SS" else "SFS.3", unit, made, path


PLACES = ((4, 4096), (3, 4096), (2, 4096), (1, 4096), (3, 1 << 30), (2, 1 << 21))
CASES: list[tuple[str, Callable[[], Case]]] = [
    *(
        (f"legacy {w} {n}", lambda w=w, c=c: legacy_case(w, c))
        for w in ("root", "context")
        for n, c in (("plain", PLAIN), ("small", SMALL), ("full", FULL))
    ),
    *(
        (f"scalable {w} {n} {p}", lambda w=w, c=c, p=p: scalable_case(w, c, p))
        for w in ("root", "context", "directory", "entry")
        for n, c in (("full", FULL), ("bare", BARE))
        for p in (("SS", "FS", "NEST", "PT") if w == "entry" else ("SS",))
    ),
    *(
        (f"{p} level {lv} of {s:#x} {n}", lambda p=p, lv=lv, s=s, c=c: page_case(p, lv, s, c))
        for p in ("SS", "FS")
        for lv, s in PLACES
        for n, c in (("full", FULL), ("bare", BARE))
    ),
    *(
        (f"{p} level {lv} of five", lambda p=p, lv=lv: page_case(p, lv, 4096, DEEP))
        for p in ("SS", "FS")
        for lv in (5, 4, 1)
    ),
]


@pytest.mark.parametrize("build", [case for _, case in CASES], ids=[name for name, _ in CASES])
def test_each_bit_is_reserved_or_ignored_as_declared(build: Callable[[], Case]) -> None:
    layout, at, label, unit, made, path = build()
    environment = unit.capabilities.environment
    reserved = layout.reserved_mask(environment)
    ignored = sum(f.mask for f in layout.fields if f.state(environment, path) == "ignored") & ~reserved
    # PS makes another kind of entry of it; that has a test of its own.
    shape = layout.mask("PS") if "PS" in layout.names else 0
    request = read(0 if layout.name.startswith(("SS-", "FS-")) else 0x1000)
    before = unit.from_memory(request)
    assert isinstance(before, Translation), before
    for bit in range(layout.width):
        if shape >> bit & 1:
            continue
        word = at + bit // 64 * 8
        kept = made.memory[word]
        made.memory[word] = kept ^ 1 << bit % 64
        answer = unit.from_memory(request)
        got = answer.label if isinstance(answer, Fault) else ""
        half_absent = layout is tables.SM_ROOT_ENTRY and bit >= 64
        if reserved >> bit & 1 and not half_absent:
            assert got == label, f"bit {bit} is reserved"
        else:
            assert got != label, f"bit {bit} is not reserved"
        if ignored >> bit & 1 or half_absent:
            assert isinstance(answer, Translation), f"bit {bit} is ignored"
            assert (answer.address, answer.permissions, answer.did) == (
                before.address,
                before.permissions,
                before.did,
            )
        made.memory[word] = kept


# One right descriptor of each type, lowest 64 bits and the next, spelt by hand.
RIGHT = {
    1: (0x0005_0021, 0),
    2: (0x0005_00E2, 0),
    3: (0x18_0000_0003, 0x1000),
    4: (0x20_0000_0014, 0),
    5: (0x7_0000_0025, 0x5008),
    6: (0x25_0005_0036, 0x1000),
    7: (0x25_0005_0017, 0),
    8: (0x25_0018_0008, 0x1000),
    9: (0x25_0018_0019, 0x18),
    10: (0x0005_001A, 0),
}
BROAD = Capabilities.scalable(HAW=46, HPTS=1, PTRS=1)
NARROW = Capabilities.scalable(HAW=46, HPTS=1, PTRS=1, DIT=0, PDS=0)


def queue_says(caps: Capabilities, mode: int, kind: int, flipped: int | None) -> int | None:
    """IQEI after one descriptor with one bit flipped, None if it was executed."""
    made = Tables()
    unit = made.unit(caps, mode=mode)
    at, wide = made.page(), mode == 1
    raw = RIGHT[kind][0] | RIGHT[kind][1] << 64
    if flipped is not None:
        raw ^= 1 << flipped
    for i in range(4 if wide else 2):
        made.memory[at + 8 * i] = raw >> 64 * i & (1 << 64) - 1
    unit.write(IQA, at | wide << 11, 8)
    command(unit, QIE)
    unit.write(IQT, 32 if wide else 16, 8)
    unit.step()
    return unit.read(IQERCD, 8) & 15 if unit.read(FSTS) & 16 else None


@pytest.mark.parametrize("kind", RIGHT)
@pytest.mark.parametrize("caps", [BROAD, NARROW], ids=["full", "without DIT and PDS"])
def test_each_bit_of_a_descriptor(kind: int, caps: Capabilities) -> None:
    layout = descriptors.TYPES[kind].layout
    reserved = layout.reserved_mask(caps.environment)
    # These have values that are refused in fields that exist; the queue has tests for them.
    valued = sum(layout.mask(name) for name in ("TYPE", "TYPE_HIGH", "G", "AM") if name in layout.names)
    for mode in (0, 1) if kind <= 5 else (1,):
        assert queue_says(caps, mode, kind, None) is None
        for bit in range(256 if mode else 128):
            if bit < 128 and valued >> bit & 1:
                continue
            wanted = 4 if bit >= 128 or reserved >> bit & 1 else None
            assert queue_says(caps, mode, kind, bit) == wanted, f"mode {mode}, bit {bit}"


@pytest.mark.parametrize("eime", [0, 1])
def test_each_bit_of_an_interrupt_entry(eime: int) -> None:
    made, unit, table = interrupts(eime=eime)
    environment = unit.capabilities.with_modes(EIME=eime)
    reserved = IRTE.reserved_mask(environment)
    for bit in range(128):
        made.memory[table], made.memory[table + 8] = IRTE_LOW, IRTE_HIGH
        made.memory[table + bit // 64 * 8] ^= 1 << bit % 64
        answer = unit.from_memory(msi())
        got = answer.code if isinstance(answer, Fault) else None
        if reserved >> bit & 1:
            assert got == 0x24, f"bit {bit} is reserved"
        elif bit in range(8, 12):
            assert got is None, f"bit {bit} is ignored"
        else:
            # SVT 01 flipped to 11 is a reserved value.
            assert (got == 0x24) is (bit == 83), f"bit {bit}"


def test_each_bit_of_a_posted_interrupt_entry() -> None:
    made, unit, table = interrupts(Capabilities(HAW=46, PI=1))
    descriptor = made.page()
    low, high = 1 | 1 << 15 | 0x31 << 16 | descriptor >> 6 << 38, IRTE_HIGH
    reserved = IRTE_POSTED.reserved_mask(unit.capabilities.with_modes(EIME=0))
    assert reserved == 0xFFF0_0000 << 64 | 0x3F_FF00_30FC
    for bit in range(128):
        made.memory[table], made.memory[table + 8] = low, high
        made.memory[table + bit // 64 * 8] ^= 1 << bit % 64
        if reserved >> bit & 1:
            answer = unit.from_memory(msi())
            assert isinstance(answer, Fault)
            assert answer.code == 0x24, f"bit {bit} is reserved"


def test_a_superpage_without_its_capability_is_a_reserved_bit() -> None:
    for size, sslps, label in (
        (1 << 30, 1, "LSS.2"),
        (1 << 30, 3, ""),
        (1 << 21, 0, "LSS.2"),
        (1 << 21, 1, ""),
    ):
        made, root = legacy()
        made.map(root, 0, 5 << 30, size=size)
        answer = made.unit(Capabilities(HAW=46, SSLPS=sslps)).translate(read(0))
        assert (answer.label if isinstance(answer, Fault) else "") == label
    for fs1gp, label in ((0, "SFS.3"), (1, "")):
        made, _, _, root = scalable("FS")
        made.map(root, 0, 5 << 30, size=1 << 30, bits=0x67, middle=0x27)
        answer = made.unit(Capabilities.scalable(HAW=46, FS1GP=fs1gp), mode=1).translate(read(0))
        assert (answer.label if isinstance(answer, Fault) else "") == label


def test_nothing_but_the_permissions_is_looked_at_in_an_absent_entry() -> None:
    made, root = legacy()
    leaf = made.map(root, 0x1000, 0x20_0000)
    for bit in range(2, 64):
        made.memory[leaf] = 1 << bit
        answer = made.unit(cached=False).translate(read(0x1000))
        assert isinstance(answer, Fault)
        assert answer.label == "LGN.3"


def test_with_ssirwe_the_permissions_are_bits_61_and_62() -> None:
    caps = Capabilities.scalable(HAW=46, SSIRWS=1)
    made, _, _, root = scalable("SS")
    leaf = made.map(root, 0x1000, 0x20_0000)
    table = root
    for _ in range(3):
        made.memory[table] |= 3 << 61
        table = made.memory[table] & 0x000F_FFFF_FFFF_F000
    unit = RemappingUnit(made.memory, caps, cached=False)
    bring_up(unit, made.root | 1 << 10 | 1 << 7)
    for bits, permissions in ((0, None), (1 << 61, "r-"), (1 << 62, "-w"), (3 << 61, "rw"), (3, None)):
        made.memory[leaf] = 0x20_0000 | bits
        answer = unit.from_memory(read(0x1000, at="translation"))
        assert isinstance(answer, Translation)
        assert (answer.permissions if answer.why is None else None) == permissions
