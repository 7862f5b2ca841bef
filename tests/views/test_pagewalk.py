"""The walk in the browser against the walk of the hardware model: same answers, same steps, whatever the
tables and the address.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.views.javascript import call
from tests.vtd.cases import CASES
from tests.vtd.rig import RW, SCALABLE, SID, R, Tables, legacy, scalable
from tests.vtd.test_survey import PATHS, SSIRW, machine, some_addresses, with_ssirwe
from vtdkit.lab.computer import BOTH_STAGES, Computer
from vtdkit.views.pagetables.record import page_table_record
from vtdkit.views.pagetables.snapshot import twin
from vtdkit.views.shared.record import checked
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.image.image import Image
from vtdkit.vtd.image.survey import Survey
from vtdkit.vtd.requests import Fault, Request, Translation, sid
from vtdkit.vtd.unit.unit import RemappingUnit

REALITY = Path(__file__).resolve().parents[1] / "reality"
WALK = """(module, given) => given.queries.map(([address, kind, remembered]) => {
  const found = module.walk(given.record, BigInt(address), kind, remembered);
  return { answer: found.answer, steps: found.steps.map((step) => [step.stage, step.level, step.index ?? null, step.raw]) };
})"""
Query = tuple[int, str, bool]


def request(source: int, pasid: int | None, address: int, kind: str) -> Request:
    return Request(source, address, kind, pasid=pasid, length=min(4, 4096 - (address & 0xFFF)))  # type: ignore[arg-type]


def agree(
    unit: RemappingUnit, source: int, queries: Iterable[Query], pasid: int | None = None, **more: Any
) -> int:
    """Every query gets the same answer by the same steps from the record and from the unit; returns
    how many were granted.
    """
    still = twin(unit)
    record = checked(page_table_record(still, source, pasid, **more))
    asked = list(queries)
    found = call(
        "pagetables/pagewalk.js",
        WALK,
        {"record": record, "queries": [[hex(address), kind, held] for address, kind, held in asked]},
    )
    granted = 0
    for (address, kind, held), there in zip(asked, found, strict=True):
        walk = still.walk(request(source, pasid, address, kind), cached=held)
        where = f"{address:#x} {kind} {'device' if held else 'tables'}: {walk!r}\n{there}"
        told, answer = there["answer"], walk.answer
        if told.get("path") == "interrupt window":
            # A message: what becomes of it is in the interrupt table, which is not part of this record.
            assert 0xFEE00000 <= address < 0xFEF00000, where
            assert kind == "write" or unit.quirks.interrupt_window_silent, where
            continue
        if isinstance(answer, Fault):
            code = "" if answer.code is None else f"{answer.code:X}h"
            assert told == {"ok": False, "label": answer.label, "code": code, "recorded": answer.recorded}, (
                where
            )
        else:
            assert isinstance(answer, Translation)
            assert (told["ok"], int(told["address"], 16), int(told["size"], 16)) == (
                True,
                answer.address,
                answer.size,
            ), where
            assert (told["readable"], told["writable"]) == (answer.readable, answer.writable), where
            granted += 1
        steps = [s for s in walk.steps if s.level and not s.inner and s.source != "IOTLB"]
        mine = [
            [
                ("first", "second")[s.structure.name.startswith("SS")],
                s.level,
                s.index if s.source == "memory" else None,
                hex(s.raw),
            ]
            for s in steps
        ]
        assert there["steps"][: len(mine)] == mine, where
    return granted


def addresses(ranges: list[tuple[int, int]], seed: int, count: int) -> list[int]:
    """Mapped addresses, their neighbours, random ones near and far, and the edges of everything."""
    chosen = random.Random(seed)
    found = [0, 0xFFF, 0xFEE00000, 0xFEDFFFFF, 0xFEE00001, 0xFEF00000]
    found += [(1 << 39) - 1, 1 << 39, (1 << 47) - 1, 1 << 47, 1 << 48, (1 << 64) - 1]
    for _ in range(count):
        if ranges:
            low, size = chosen.choice(ranges)
            found += [low + chosen.randrange(size), max(0, low - 1), min(low + size, (1 << 64) - 1)]
        found += [chosen.randrange(1 << chosen.choice((16, 32, 40, 48, 57, 64)))]
    return found


QUIET = ("legacy39_strict", "legacy48_lazy", "superpage_1g", "passthrough", "scalable48")


def everything(where: Iterable[int], *, held: bool = False) -> list[Query]:
    return [
        (address, kind, h)
        for address in where
        for kind in ("read", "write")
        for h in ((False, True) if held else (False,))
    ]


@pytest.mark.parametrize(
    ("folder", "personality"),
    [
        *((f, p) for f in QUIET for p in ("specification", "qemu")),
        ("k612_q10_firststage", "qemu"),
        ("k612_q10_firststage", "specification"),
        ("legacy48_ats", "specification"),
        ("caching_mode", "specification"),
    ],
)
def test_every_device_of_a_real_machine(folder: str, personality: str) -> None:
    (path,) = REALITY.glob(f"{folder}-*")
    unit = Image.load(path).unit_as(personality)
    survey = Survey(unit)
    granted = 0
    for number, found in enumerate(survey.attached()):
        ranges = [(part.iova, part.size) for part in survey.ranges(found.space)] if found.space else []
        if number % 3 == 0 or ranges:
            granted += agree(unit, found.sid, everything(addresses(ranges, number, 12)))
        if granted > 400:
            break
    assert granted >= (0 if (folder, personality) == ("k612_q10_firststage", "specification") else 50)


@pytest.mark.parametrize("label", [label for label in CASES if not label.startswith(("IR.", "HPT."))])
def test_every_way_to_be_refused(label: str) -> None:
    case = CASES[label]()
    asked = case.request
    if not isinstance(asked, Request) or asked.at != "untranslated" or asked.supervisor or asked.execute:
        pytest.skip("not a request of the kind the explorer makes")
    there = asked.address
    agree(case.unit, asked.sid, everything([there, there + 0x1000, 0, 1 << 47]), asked.pasid)


@pytest.mark.parametrize("path", ["SS", "FS", "NEST", "PT"])
@pytest.mark.parametrize("seed", range(3))
def test_random_tables_of_every_path(path: str, seed: int) -> None:
    chosen = random.Random(f"{path} {seed}")
    caps = Capabilities.scalable(
        HAW=chosen.choice((36, 46)), SSADS=1, reserved_first=bool(seed == 1), SC=seed % 2
    )
    ssade = 1 << 9 if chosen.random() < 0.5 else 0
    tables, _, _, root = scalable(path, caps, w0=ssade if path in ("SS", "NEST") else 0)
    mapped = []
    for _ in range(24):
        size = chosen.choice((4096, 4096, 1 << 21, 1 << 30))
        iova = chosen.randrange(1 << 36) // size * size
        bits = (
            chosen.choice((1, 2, 3, 0x303)) if path == "SS" else chosen.choice((0x67, 0x65, 0x07, 0x63, 0x27))
        )
        if root:
            place = chosen.randrange(1 << 35) // size * size
            tables.map(root, iova, place, bits=bits, size=size, middle=RW if path == "SS" else 0x67)
            mapped.append((iova, size))
    if path == "NEST":
        second = tables.memory[_pasid_entry(tables)] & ~0xFFF
        for page in sorted(tables.memory.pages):
            tables.map(
                second, page << 12, page << 12, bits=chosen.choice((3, 3, 3, 3, 3, 1, 0x303)), middle=0x303
            )
        for _ in range(12):
            guest, host = chosen.randrange(1 << 35) >> 21 << 21, chosen.randrange(1 << 34) >> 21 << 21
            tables.map(second, guest, host, size=1 << 21, middle=0x303)
    for _ in range(20):  # flip bits of entries that are in use
        page = chosen.choice(sorted(tables.memory.pages))
        used = [index for index, word in enumerate(tables.memory.pages[page]) if word]
        if used and page << 12 not in (tables.root,):
            tables.memory.pages[page][chosen.choice(used)] ^= 1 << chosen.choice(
                (0, 1, 2, 7, 8, 9, 11, 37, 50, 61, 62, 63)
            )
    agree(tables.unit(caps, mode=1), SID, everything(addresses(mapped, seed, 30)))


def _pasid_entry(tables: Tables) -> int:
    directory = tables.memory[tables.sm_context_at()] & ~0xFFF
    return tables.pasid_at(directory, 7)


def remembering(tables: Tables, unit: RemappingUnit, mapped: list[tuple[int, int]], seed: int) -> None:
    """Fill the caches, then change tables behind the unit's back."""
    chosen = random.Random(seed)
    for iova, size in mapped:
        for kind in ("read", "write"):
            unit.translate(request(SID, None, iova + chosen.randrange(size), kind))
    for page in sorted(tables.memory.pages):
        for index, word in enumerate(tables.memory.pages[page]):
            if word and chosen.random() < 0.3:
                tables.memory.pages[page][index] = chosen.choice((0, word ^ 2, word ^ 1 << 20))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("path", ["legacy", "SS", "FS", "NEST"])
def test_what_the_caches_still_say_when_the_tables_have_changed(path: str, seed: int) -> None:
    if path == "legacy":
        tables, root = legacy()
        caps = Capabilities(HAW=46, CM=seed % 2, structure_entries=4, iotlb_entries=8)
    else:
        caps = Capabilities.scalable(HAW=46, structure_entries=4, iotlb_entries=8)
        tables, _, _, root = scalable(path, caps)
    first = path in ("FS", "NEST")
    chosen = random.Random(f"{path} {seed}")
    mapped = []
    for _ in range(12):
        size = chosen.choice((4096, 4096, 1 << 21))
        iova = chosen.randrange(1 << 32) // size * size
        bits = 0x67 if first else 3
        tables.map(root, iova, chosen.randrange(1 << 32) // size * size, bits=bits, size=size, middle=bits)
        mapped.append((iova, size))
    if path == "NEST":
        second = tables.memory[_pasid_entry(tables)] & ~0xFFF
        for gigabyte in range(4):
            tables.map(second, gigabyte << 30, gigabyte << 30, size=1 << 30)
    unit = tables.unit(caps, mode=0 if path == "legacy" else 1)
    remembering(tables, unit, mapped, seed)
    agree(unit, SID, everything(addresses(mapped, seed, 20), held=True))


def test_tables_that_our_driver_built() -> None:
    pc = Computer(devices={"00:03.0": {}})
    domain = pc.domain_of("00:03.0")
    assert pc.map(domain, 0x10000, 0x5000000, 0x4000) == 0
    assert pc.map(domain, 0x40000000, 0x40000000, 0x40000000) == 0
    for address in (0x10123, 0x12000, 0x40000000):
        assert pc.dma("00:03.0", address)
    caches = pc.hardware[0].unit.caches
    assert caches is not None
    before = [list(cache) for cache in caches]
    near = addresses([(0x10000, 0x4000), (0x40000000, 1 << 30)], 1, 20)
    granted = agree(pc.hardware[0].unit, sid("00:03.0"), everything(near, held=True))
    assert granted >= 4 * 20
    assert [list(cache) for cache in caches] == before


def test_first_stage_tables_that_our_driver_built() -> None:
    pc = Computer(devices={"00:03.0": {}}, units=BOTH_STAGES, scalable=True)
    assert pc.map(pc.domain_of("00:03.0"), 0x10000, 0x5000000, 0x4000) == 0
    assert (
        agree(
            pc.hardware[0].unit, sid("00:03.0"), everything(addresses([(0x10000, 0x4000)], 1, 10), held=True)
        )
        > 20
    )


def test_looking_at_a_freed_table_reports_nothing_and_says_that_it_is_freed() -> None:
    pc = Computer(devices={"00:03.0": {}})
    domain = pc.domain_of("00:03.0")
    pc.map(domain, 0x10000, 0x5000000, 0x1000)
    hardware = pc.hardware[0]
    walk = hardware.unit.walk(Request(sid("00:03.0"), 0x10000))
    page = pc.machine.pages.page(walk.steps[-1].address)
    assert page is not None
    words = list(page.words)
    page.freed = page.allocated  # as if a bug had freed it: the entry above still leads here
    reports = list(pc.machine.findings)
    record = page_table_record(twin(hardware.unit), sid("00:03.0"))
    assert record["pages"][hex(page.address)]["freed"]
    assert [name for name, kept in record["pages"].items() if kept.get("freed")] == [hex(page.address)]
    assert list(pc.machine.findings) == reports
    assert page.words == words


def test_a_walk_that_leaves_the_record_says_so_and_all_others_stay_right() -> None:
    tables, root = legacy()
    chosen = random.Random(5)
    mapped = [(chosen.randrange(1 << 40) >> 12 << 12, 4096) for _ in range(300)]
    for iova, _ in mapped:
        tables.map(root, iova, chosen.randrange(1 << 40) >> 12 << 12, bits=R)
    unit = twin(tables.unit())
    near = mapped[7][0]
    record = checked(page_table_record(unit, SID, near=near, most=700))
    assert record["left_out"] > 50
    assert sum(len(page["runs"]) for page in record["pages"].values()) <= 700
    queries = [[hex(iova), "read", False] for iova, _ in mapped]
    found = [
        each["answer"]
        for each in call("pagetables/pagewalk.js", WALK, {"record": record, "queries": queries})
    ]
    assert found[7]["ok"] is True
    unknown = [answer for answer in found if answer == {"unknown": True}]
    assert len(unknown) > 100
    for (iova, _), answer in zip(mapped, found, strict=True):
        if answer != {"unknown": True}:
            truth = unit.from_memory(Request(SID, iova))
            assert isinstance(truth, Translation)
            assert int(answer["address"], 16) == truth.address


def test_tables_that_loop_are_walked_like_any_others() -> None:
    tables, root = legacy()
    tables.memory[root] = root | 3  # its own first entry leads back to it
    tables.memory[root + 8] = 0x30_0000 | 3
    tables.memory.page(0x30_0000)
    agree(tables.unit(), SID, everything([0, 0x1000, 1 << 39, 0x200000, 0x40201000, 0x8040201000]))


def test_other_units_personalities_and_states() -> None:
    tables, root = legacy()
    tables.map(root, 0x1000, 0x20_0000)
    off = tables.unit()
    off.write(0x18, 0, 4)
    assert agree(off, SID, everything([0, 0x1000, 0xFEE00000])) == 5
    guarded = tables.unit()
    for register, value in ((0x68, 0x20_0000), (0x6C, 0x20_0000)):
        guarded.write(register, value, 4)
    guarded.write(0x64, 1 << 31, 4)
    agree(guarded, SID, everything([0x1000, 0x2000]))
    agree(RemappingUnit(tables.memory, SCALABLE), SID, everything([0x1000]))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("path", PATHS)
def test_under_every_mode_that_the_survey_is_tried_with(path: str, seed: int) -> None:
    """§3.4, as its kind: random tables, capabilities, personalities and modes."""
    agree(machine(seed, path), SID, everything(some_addresses(seed)))


@pytest.mark.parametrize(("bits", "granted"), [(SSIRW, 3), (1 << 61, 2), (RW, 0)])
def test_permissions_where_ssirwe_puts_them(bits: int, granted: int) -> None:
    """§3.4: survey, walk and explorer read them from the same place."""
    unit = with_ssirwe(bits)
    asked: list[Query] = [(0x1000, "read", False), (0x1FFF, "read", False), (0x1000, "write", False)]
    assert agree(unit, SID, asked) == granted
    assert bool(page_table_record(twin(unit), SID)["ranges"]) is (granted > 0)
