"""Many translations at once say what one at a time says."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reality_check.compare import ram_of
from tests.reality_check.oracle import Oracle
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.image.image import Image
from vtdkit.vtd.image.survey import Survey
from vtdkit.vtd.requests import BadRequest, Fault, Request, sid

from .cases import CASES
from .rig import RW, SCALABLE, SID, TE, R, Tables, W, command, legacy, scalable
from .test_hostile import nonsense, unit_over

np = pytest.importorskip("numpy")
from vtdkit.vtd.walk.many import BLOCK, Batch, translate_many  # noqa: E402

REALITY = Path(__file__).parent.parent / "reality"


SIZES = (1 << 12, 1 << 21, 1 << 30)


def check(batch: Batch, indices: range | list[int] | None = None) -> None:
    """Each answer of the batch is the scalar one."""
    for i in range(len(batch.iova)) if indices is None else indices:
        one = batch[i]
        label, address, flags = batch.labels[batch.label[i]], int(batch.address[i]), int(batch.flags[i])
        if isinstance(one, Fault):
            assert (label, address, flags) == (one.label, 0, 0), (i, one)
        else:
            permissions = R * one.readable | W * one.writable
            given_ = (label, address, SIZES[flags >> 2], flags & 3)
            assert given_ == ("", one.address, one.size, permissions), (i, one)


def counts(batch: Batch) -> dict[str, int]:
    """How many addresses met each condition; "" is granted."""
    return {name: n for at, name in enumerate(batch.labels) if (n := int((batch.label == at).sum()))}


def addresses(rng: random.Random, count: int) -> list[int]:
    choices = (0x1000, 0x20_1000, 0x4000_1000, 1 << 39, 1 << 47, 1 << 48, 0xFEE0_0000, 0xFFFF_8000_0000_0000)
    return [
        (rng.choice(choices) + rng.choice((0, 0, 8, 0x1000, 0x3000, rng.getrandbits(31)))) % (1 << 64)
        for _ in range(count)
    ]


@given(seed=st.integers(0, 1 << 30), kind=st.sampled_from(["read", "write", "atomic", "zero-length read"]))
@settings(max_examples=60, deadline=None)
def test_on_random_tables(seed: int, kind: str) -> None:
    unit = unit_over(nonsense(seed), seed)
    rng = random.Random(seed)
    source = rng.getrandbits(9)
    pasid = rng.choice((None, None, rng.getrandbits(7)))
    check(translate_many(unit, source, addresses(rng, 60), kind, pasid))  # type: ignore[arg-type]


def built(path: str, rng: random.Random) -> tuple[Tables, int]:
    """Tables of one path with pages of every size, some entries spoilt."""
    if path == "legacy":
        tables, root = legacy()
        bits, middle, mode = RW, RW, 0
    else:
        w0 = (1 << 9) * rng.randrange(2) if path != "FS" else 0
        tables, _, entry, root = scalable(path, w0=w0, w2=rng.choice((0, 1 << 7)) if path != "SS" else 0)
        bits, middle = (RW, RW) if path == "SS" else (0x67, 0x27)
        if path == "NEST":
            second = tables.memory[entry] & ~0xFFF
            for page in range(0, 1 << 22, 1 << 21):
                tables.map(second, page, page, size=1 << 21)
            tables.map(second, 5 << 30, 9 << 30, size=rng.choice((1 << 30, 1 << 21)))
        mode = 1
    for _ in range(12):
        size = rng.choice((4096, 4096, 1 << 21, 1 << 30))
        iova = rng.choice((0, 1 << 30, 1 << 39, 3 << 30)) + rng.choice((0, 1 << 21, 0x3000))
        target = rng.choice((5 << 30, 0x20_0000, 0xFEE0_0000, 0xC000_0000, 0x2FFF_C000_0000)) & -size
        try:
            tables.map(root, iova & -size, target, size=size, bits=bits, middle=middle)
        except KeyError:
            continue
    pages = sorted(tables.memory.pages)
    for _ in range(rng.randrange(4)):
        words = tables.memory.pages[rng.choice(pages[4:])]
        index = rng.randrange(512)
        words[index if rng.random() < 0.3 else 0] ^= 1 << rng.randrange(64)
    if rng.random() < 0.3:
        page = rng.choice(pages[4:]) << 12
        tables.memory.fail(page, page + rng.choice((8, 4096)))
    return tables, mode


@given(seed=st.integers(0, 1 << 30), path=st.sampled_from(["legacy", "SS", "FS", "NEST", "PT"]))
@settings(max_examples=100, deadline=None)
def test_on_tables_of_every_kind_with_something_wrong(seed: int, path: str) -> None:
    rng = random.Random(seed)
    tables, mode = built(path, rng)
    caps = rng.choice(
        (
            SCALABLE,
            Capabilities.scalable(HAW=46, reserved_first=True),
            Capabilities.scalable(HAW=46, SMPWC=0, EAFS=0, SSADS=0),
        )
    )
    unit = tables.unit(caps, mode=mode)
    iovas = [
        rng.choice((0, 1 << 30, 1 << 39, 3 << 30, 2 << 30, 1 << 47))
        + rng.choice((0, 0x3000, 1 << 21, rng.getrandbits(30)))
        for _ in range(40)
    ]
    for kind in ("read", "write", "atomic", "zero-length read"):
        check(translate_many(unit, SID, iovas, kind))


@pytest.mark.parametrize(
    "label",
    [
        x
        for x in CASES
        if x.startswith(
            ("RTA", "LRT", "LCT", "LGN", "LSS", "SRT", "SCT", "SPD", "SPT", "SSS", "SFS", "SGN", "PMR", "TES")
        )
    ],
)
def test_on_every_scenario_of_the_fault_tables(label: str) -> None:
    case = CASES[label]()
    if not isinstance(case.request, Request) or case.request.at != "untranslated" or case.request.execute:
        return
    r = case.request
    check(translate_many(case.unit, r.sid, [r.address, 0x1000, 0x2000, 1 << 46], r.kind, r.pasid))


NAMES = sorted(path.name for path in REALITY.iterdir() if (path / "pages.npz").exists())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("personality", ["specification", "qemu"])
def test_on_real_machines_for_every_request_that_was_replayed(name: str, personality: str) -> None:
    image = Image.load(REALITY / name)
    unit = image.unit_as(personality, cached=False, ram=ram_of(image))
    groups: dict[tuple[int, bool], list[int]] = {}
    for verdict in Oracle(image).replayed:
        groups.setdefault((verdict.sid, verdict.write), []).append(verdict.iova)
    for (source, writes), iovas in groups.items():
        check(translate_many(unit, source, iovas, "write" if writes else "read"))


def test_a_million_addresses_of_a_machine_with_pages_of_every_size() -> None:
    image = Image.load(REALITY / "superpage_1g-s0-quiet")
    survey = Survey(image.unit)
    space, _ = survey.space(sid("00:09.0"))
    assert space is not None
    mapped = np.concatenate(
        [np.arange(r.iova, r.iova + r.size, 4096, dtype=np.uint64) for r in survey.ranges(space)]
    )
    rng = np.random.default_rng(3)
    iovas = rng.choice(mapped, 1_000_000) + rng.integers(0, 4096, 1_000_000, dtype=np.uint64)
    iovas[::1000] += np.uint64(1 << 40)
    batch = image.unit.translate_many(sid("00:09.0"), iovas)
    assert counts(batch) == {"": 999_000, "LGN.3": 1000}
    assert set((batch.flags[batch.granted] >> 2).tolist()) == {0, 1, 2}
    check(batch, list(range(0, 1_000_000, 9973)))


@pytest.mark.parametrize("size", [1 << 12, 1 << 21, 1 << 30])
@pytest.mark.parametrize("bit", range(30, 52))
def test_every_bit_of_a_host_address(size: int, bit: int) -> None:
    tables, root = legacy()
    tables.map(root, 0, 1 << bit, size=size)
    unit = tables.unit(Capabilities.scalable(HAW=52))
    check(translate_many(unit, SID, [0, 0xFFF, size - 1, size - 0x1000, size]))


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_blocks_of_any_length(count: int) -> None:
    tables, root = legacy()
    tables.map(root, 0, 5 << 30, size=1 << 30)
    batch = translate_many(tables.unit(), SID, np.arange(count, dtype=np.uint64) * np.uint64(4096))
    assert len(batch.iova) == count
    assert (batch.address == (5 << 30) + np.arange(count, dtype=np.uint64) * np.uint64(4096))[: 1 << 18].all()


def test_changes_in_memory_are_seen() -> None:
    image = Image.load(REALITY / "legacy39_strict-s0-quiet")
    unit = image.unit_as(writable=True, cached=False)
    mapped = Oracle(image).mappings[0]
    iovas = [mapped.iova]
    assert counts(translate_many(unit, mapped.sid, iovas)) == {"": 1}
    leaf = unit.walk(mapped.request()).steps[-1]
    unit.memory[leaf.address] = 0  # type: ignore[attr-defined]
    assert counts(translate_many(unit, mapped.sid, iovas)) == {"LGN.3": 1}
    for kind in ("read", "write", "atomic", "zero-length read") * 3:
        unit.memory[leaf.address] = leaf.raw  # type: ignore[attr-defined]
        check(translate_many(unit, mapped.sid, iovas, kind))


def test_nothing_is_cached_recorded_or_flagged() -> None:
    tables, _, _, root = scalable("FS")
    leaf = tables.map(root, 0x1000, 0x20_0000, bits=7, middle=0x27)
    unit = tables.unit(SCALABLE, mode=1)
    batch = translate_many(unit, SID, [0x1000, 0x2000], "write")
    assert counts(batch) == {"": 1, "SFS.2": 1}
    assert tables.memory[leaf] == 0x20_0007
    assert unit.caches is not None
    assert len(unit.caches.iotlb) == len(unit.caches.context) == 0
    assert unit.read(0x34) == 0


def test_with_translation_off_addresses_stand_for_themselves() -> None:
    tables, _ = legacy()
    unit = tables.unit()
    command(unit, TE, on=False)
    batch = translate_many(unit, SID, [0x1234, 0xFEE0_0000, 1 << 63])
    assert batch.address.tolist() == [0x1234, 0xFEE0_0000, 1 << 63]
    check(batch)


def test_protected_memory_counts() -> None:
    tables, root = legacy()
    tables.map(root, 0, 0, size=1 << 30)
    unit = tables.unit()
    for offset, value in ((0x68, 0x40_0000), (0x6C, 0x40_0000), (0x64, 1 << 31)):
        unit.write(offset, value)
    batch = translate_many(unit, SID, [0x3F_F000, 0x40_0000, 0x5F_FFFF, 0x60_0000])
    assert counts(batch) == {"": 2, "PMR": 2}
    check(batch)


def test_nonsense_arguments_are_refused_in_words() -> None:
    unit = legacy()[0].unit()
    with pytest.raises(BadRequest, match="source id has 16 bits"):
        translate_many(unit, 1 << 16, [0])
    with pytest.raises(BadRequest, match="kind='peek'"):
        translate_many(unit, SID, [0], "peek")  # type: ignore[arg-type]
