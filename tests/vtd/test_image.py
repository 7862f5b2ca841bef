"""Images of real machines: loading, the oracles, the stale translations."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import time
import zipfile
from array import array
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from tests.reality_check.check import Report, check_folder
from tests.reality_check.oracle import Oracle
from tests.reality_check.stale import homes, last_covering
from vtdkit.vtd.faults.reasons import REASONS
from vtdkit.vtd.image.image import BadImage, Image
from vtdkit.vtd.image.npz import BadFile
from vtdkit.vtd.image.stale import explain
from vtdkit.vtd.image.survey import Survey
from vtdkit.vtd.memory import AccessError, Memory
from vtdkit.vtd.quirks import QEMU_7_2, QEMU_10, SPECIFICATION
from vtdkit.vtd.requests import Fault, Request, Translation, sid

REALITY = Path(__file__).parent.parent / "reality"
FOLDERS = sorted(path.name for path in REALITY.iterdir() if (path / "pages.npz").exists())


@pytest.fixture(scope="module")
def lazy() -> Image:
    return Image.load(REALITY / "legacy48_lazy-s0-busy")


def test_there_are_eight_folders_of_tables() -> None:
    assert len(FOLDERS) == 8


@lru_cache
def report_on(name: str) -> Report:
    return check_folder(REALITY / name)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_model_agrees_with_everything_a_real_machine_said(name: str) -> None:
    report = report_on(name)
    assert report.problems == []
    assert report.agrees
    counts = {tally.name: tally.total for tally in report.tallies}
    assert all(
        counts[kind]
        for kind in ("translations", "faults", "kernel_live", "vfio_live", "replayed", "mutations")
    )
    assert all(counts[kind] for kind in ("invalidations", "interrupts", "records", "dmar", "registers"))


def test_the_counts_of_the_lazy_folder_are_those_of_its_oracle(lazy: Image) -> None:
    report = report_on(lazy.name)
    counts = {tally.name: (tally.agree, tally.total) for tally in report.tallies}
    assert counts["translations"] == (105, 105)
    assert counts["faults"] == (80, 80)
    assert counts["replayed"] == (1279, 1279)
    assert counts["mutations"] == (870, 870)
    assert counts["invalidations"] == (950, 950)
    assert counts["stale explained"] == (300, 300)
    assert sum(part.size for part in Oracle(lazy).vfio_live) >> 12 == counts["vfio_live"][0]


def test_the_page_about_this_room_tells_the_truth(lazy: Image) -> None:
    room = Path(__file__).parent.parent.parent / "vtdkit" / "vtd"
    page = (room / "README.md").read_text(encoding="utf-8")
    assert repr(lazy.unit.walk(Request(sid("00:03.0"), 0xBF73E000))) in page
    totals: dict[str, int] = {}
    for name in FOLDERS:
        for tally in report_on(name).tallies:
            totals[tally.name] = totals.get(tally.name, 0) + tally.total
    compared = ("translations", "faults", "kernel_live", "vfio_live", "replayed", "mutations")
    compared += ("invalidations", "interrupts", "stale explained")
    rows = [
        line
        for line in page.splitlines()
        if line.startswith("|") and line.split("|")[2].strip()[:1].isdigit()
    ]
    assert [int(line.split("|")[2].replace(",", "")) for line in rows] == [totals[name] for name in compared]
    assert f"all {sum(reason.code is not None for reason in REASONS.values())} conditions" in page


def test_a_specification_unit_walks_a_real_table(lazy: Image) -> None:
    mapped = Oracle(lazy).mappings[0]
    walk = lazy.unit.walk(Request(mapped.sid, mapped.iova))
    assert isinstance(walk.answer, Translation)
    assert walk.answer.address == mapped.address
    assert [step.kind for step in walk.steps] == [
        "root entry",
        "context entry",
        "SS-PML4E",
        "SS-PDPE",
        "SS-PDE",
        "SS-PTE",
    ]
    assert walk.steps[-1].raw == mapped.entry


def test_the_first_stage_machine_runs_only_on_an_emulator_that_lets_it() -> None:
    """Linux sets AW in first-stage entries; without SSTS the specification reserves it. With SSTS all is
    well.
    """
    image = Image.load(REALITY / "k612_q10_firststage-s0-quiet")
    mapped = Oracle(image).mappings[0]
    request = Request(mapped.sid, mapped.iova)
    strict = image.unit.from_memory(request)
    assert isinstance(strict, Fault)
    assert strict.label == "SPT.3"
    for unit in (image.unit_as("qemu"), image.unit_as("specification", SSTS=1)):
        answer = unit.from_memory(request)
        assert isinstance(answer, Translation)
        assert (answer.address, answer.path) == (mapped.address, "first stage")


def test_a_personality_is_one_that_there_is(lazy: Image) -> None:
    assert lazy.unit_as("specification").quirks is SPECIFICATION
    assert lazy.unit_as("qemu").quirks is QEMU_7_2
    assert lazy.unit_as(QEMU_10).quirks is QEMU_10
    with pytest.raises(ValueError, match="personality 'quemu': it is specification, qemu, or a Quirks"):
        lazy.unit_as("quemu")


def test_stale_translations_were_mapped_once_and_are_not_now(lazy: Image) -> None:
    stale = explain(lazy)
    assert len(stale) == 300
    assert Oracle(lazy).stale_count == 302
    assert "; stale listed 300/302" in report_on(lazy.name).line()
    assert all(entry.explained for entry in stale)
    assert {entry.mapped.level for entry in stale} == {1}
    assert {entry.now.label for entry in stale if isinstance(entry.now, Fault)} == {"LGN.3"}
    executed = Oracle(lazy).invalidations
    for m in (entry.mapped for entry in stale):
        flushed = last_covering(executed, m.did, m.iova, m.size)
        assert flushed is not None
        assert len(executed) - 1 - flushed <= 3
    places = homes(lazy, {entry.mapped.sid for entry in stale})
    reused = [entry for entry in stale if places.get((entry.mapped.sid, entry.mapped.address))]
    assert len(reused) == 125, "pages that were handed out again while the old translation still worked"
    assert repr(stale[0]) == "<StaleEntry 00:03.0 0xbf73f000 -> 0x3048000 DID 4: once mapped, not now>"


def test_a_machine_without_lazy_flushing_has_no_stale_translations() -> None:
    assert explain(Image.load(REALITY / "legacy39_strict-s0-quiet")) == ()


def test_units_of_one_image_do_not_disturb_each_other(lazy: Image) -> None:
    mapped = Oracle(lazy).mappings[0]
    request = Request(mapped.sid, mapped.iova)
    other = lazy.unit_as(cached=False, writable=True)
    assert isinstance(other.memory, Memory)
    slot = lazy.unit.walk(request).steps[-1].address
    other.memory[slot] = 0
    assert isinstance(other.from_memory(request), Fault)
    assert isinstance(lazy.unit.from_memory(request), Translation)
    assert isinstance(lazy.unit_as().from_memory(request), Translation)


def test_image_memory_is_read_only_and_absent_is_not_zero(lazy: Image) -> None:
    memory = lazy.unit.memory
    root = lazy.registers["RTADDR"]
    for attempt in (
        lambda: memory.cmpxchg64(root, 0, 1),
        lambda: memory.read64(0),
    ):
        with pytest.raises(AccessError):
            attempt()
    assert lazy.unit_as(ram=((0, 1 << 20),)).memory.read64(0) == 0


def test_two_memories_of_one_image_keep_their_changes_to_themselves(lazy: Image) -> None:
    memory = Memory(lazy.pages, writable=True)
    root = lazy.registers["RTADDR"]
    before = memory.read64(root)
    twin = Memory(lazy.pages, writable=True)
    twin[root] = 5
    assert (memory.read64(root), twin.read64(root)) == (before, 5)
    with twin.changed(root, 6):
        assert twin.read64(root) == 6
    assert twin.read64(root) == 5
    assert memory.cmpxchg64(root, before, 9) == before
    assert memory.read64(root) == 9


def test_the_survey_finds_what_linux_had_mapped() -> None:
    image = Image.load(REALITY / "superpage_1g-s0-quiet")
    survey = Survey(image.unit)
    space, refusal = survey.space(sid("00:09.0"))
    assert refusal == ""
    assert space is not None
    assert survey.pages(space) == 268_757
    sizes = {part.page for part in survey.ranges(space)}
    assert sizes == {4096, 1 << 21, 1 << 30}
    assert sum(part.size for part in survey.ranges(space)) >> 12 == 268_757
    assert survey.space(0xFFFF) == (None, "LRT.2")


def test_drivers_are_named(lazy: Image) -> None:
    assert lazy.drivers[sid("00:03.0")] == "nvme"


# folders that cannot be used


def spoiled(tmp_path: Path, name: str, content: bytes | None) -> Path:
    folder = tmp_path / "spoiled"
    shutil.copytree(REALITY / "passthrough-s0-quiet", folder)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    return folder


def npz(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return packed.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


HEADER = "{'descr': '%s', 'fortran_order': False, 'shape': %s}"
BOMB = gzip.compress(b"[" + b"0," * (64 << 20) + b"0]", 9)
NESTED = gzip.compress(b"[" * 1_000_000)
REAL = (REALITY / "passthrough-s0-quiet" / "pages.npz").read_bytes()
EVERY_FILE = [
    "regs.json",
    "pages.npz",
    "dmar.bin",
    "meta.json",
    "oracle.json.gz",
    "replay_oracle.json.gz",
    "fuzz_oracle.json.gz",
    "invalidations.json.gz",
]
HOSTILE = [
    *((name, None, "is missing") for name in EVERY_FILE),
    ("pages.npz", b"", "no readable npz"),
    ("pages.npz", REAL[: len(REAL) // 2], "no readable npz"),
    ("pages.npz", npz(pfn=b"x", data=b"y", kind=b"z"), "no numpy array"),
    ("pages.npz", npz(pfn=npy(HEADER % ("<u8", "(1,)"), bytes(8))), "no item named 'data.npy'"),
    (
        "pages.npz",
        npz(pfn=npy(HEADER % ("|O", "(1,)"), b"cos\nsystem\n")),
        "no plain array of 64-bit numbers",
    ),
    ("pages.npz", npz(pfn=npy(HEADER % ("<u8", "(1 << 60,)"))), "no plain array of 64-bit numbers"),
    ("pages.npz", npz(pfn=npy(HEADER % ("<u8", "(1152921504606846976,)"))), "says it holds"),
    ("pages.npz", npz(pfn=npy(HEADER % ("<u8", "(-1,)"))), "no plain array of 64-bit numbers"),
    ("pages.npz", npz(pfn=npy(HEADER % ("<u8", "(4,)"), bytes(8))), "holds 8 bytes where"),
    ("pages.npz", npz(pfn=npy("(" * 900)), "no plain array of 64-bit numbers"),
    ("pages.npz", npz(pfn=bytes(1 << 28)), "no numpy array"),
    ("oracle.json.gz", b"", "is not JSON"),
    ("oracle.json.gz", b"{}", "cannot be read"),
    ("oracle.json.gz", gzip.compress(b"{}")[:-6], "cannot be read"),
    ("oracle.json.gz", gzip.compress(b"not json"), "is not JSON"),
    ("oracle.json.gz", gzip.compress(b"[1, 2]"), "has no list called"),
    (
        "oracle.json.gz",
        gzip.compress(b'{"mappings": [], "not_agreeing": [{"sid": "0x18"}]}'),
        r"not_agreeing\[0\] has no 'iova'",
    ),
    ("oracle.json.gz", gzip.compress(b'{"mappings": [7]}'), r"mappings\[0\] makes no sense"),
    ("oracle.json.gz", BOMB, "is larger than"),
    ("oracle.json.gz", NESTED, "is not JSON"),
    ("regs.json", b"[]", "is not an object"),
    ("regs.json", b"{}", "has no register CAP"),
    ("regs.json", b'{"CAP": "zebra"}', "CAP is 'zebra'"),
    (
        "regs.json",
        b'{"CAP": "0x0", "ECAP": "0x8000000000", "GSTS": "0", "RTADDR": "0", "FRCD": 3}',
        "FRCD is not a list",
    ),
    ("dmar.bin", b"short", "ends inside its header"),
    ("dmar.bin", bytes(64), "signature"),
    ("meta.json", b"[]", "^spoiled/meta.json: is not an object"),
    ("meta.json", b'{"qemu_version": "none"}', "^spoiled/meta.json: no version number in 'none'$"),
]


@pytest.mark.parametrize(
    ("name", "content", "complaint"), HOSTILE, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_folder_with_a_bad_file_is_refused_quickly_and_by_name(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    folder = spoiled(tmp_path, name, content)
    started = time.process_time()
    with pytest.raises(BadFile, match=complaint) as caught:
        check_folder(folder)
    assert str(caught.value).startswith(f"spoiled/{name}: ")
    assert "\n" not in str(caught.value)
    assert time.process_time() - started < 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    folder = spoiled(tmp_path, "oracle.json.gz", None)
    os.mkfifo(folder / "oracle.json.gz")
    with pytest.raises(BadFile, match=r"^spoiled/oracle.json.gz: is no regular file$"):
        check_folder(folder)


def test_folders_without_tables_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="there is no such folder"):
        Image.load(tmp_path / "nowhere")
    with pytest.raises(BadImage, match=r"a workload folder \(maps.csv.gz\); it holds no tables"):
        Image.load(REALITY / "maps_smp4_lazy-s0")


def test_illegal_capabilities_in_the_registers_are_an_image_problem(tmp_path: Path) -> None:
    registers = json.loads((REALITY / "passthrough-s0-quiet" / "regs.json").read_text())
    registers["CAP"] = "0xffffffffffffffff"
    folder = spoiled(tmp_path, "regs.json", json.dumps(registers).encode())
    with pytest.raises(BadImage, match=r"regs.json: ND=7 is out of range"):
        check_folder(folder)


def rebuilt(tmp_path: Path, folder: str, change: Callable[[Image, dict[int, array[int]]], None]) -> Path:
    """A folder of a real machine with its pages changed."""
    image = Image.load(REALITY / folder)
    pages = {pfn: page[:] for pfn, page in image.pages.items()}
    change(image, pages)
    count = len(pages)
    spoilt = tmp_path / "rebuilt"
    shutil.copytree(REALITY / folder, spoilt)
    (spoilt / "pages.npz").write_bytes(
        npz(
            pfn=npy(HEADER % ("<u8", f"({count},)"), b"".join(pfn.to_bytes(8, "little") for pfn in pages)),
            data=npy(
                HEADER % ("<u8", f"({count}, 512)"), b"".join(page.tobytes() for page in pages.values())
            ),
        )
    )
    return spoilt


def kinds(image: Image) -> dict[int, str]:
    """What each page of a folder is, as its recorder noted."""
    numpy = pytest.importorskip("numpy")
    with numpy.load(image.folder / "pages.npz") as held:
        return dict(zip(held["pfn"].tolist(), held["kind"].tolist(), strict=True))


def test_tables_that_loop_are_refused_quickly(tmp_path: Path) -> None:
    """Every page-table page is made to point at the top-level table, 512 times over."""

    def loop(image: Image, pages: dict[int, array[int]]) -> None:
        mapped = Oracle(image).mappings[0]
        top = image.unit.walk(Request(mapped.sid, mapped.iova)).steps[2].address & ~0xFFF
        for pfn, kind in kinds(image).items():
            if kind.startswith("pt_"):
                pages[pfn] = array("Q", [top | 3] * 512)

    folder = rebuilt(tmp_path, "passthrough-s0-quiet", loop)
    started = time.process_time()
    with pytest.raises(BadImage, match=r"rebuilt: tables loop: the page at 0x[0-9a-f]+ is a table of level"):
        check_folder(folder)
    assert time.process_time() - started < 2


def without(kind: str) -> Callable[[Image, dict[int, array[int]]], None]:
    def drop(image: Image, pages: dict[int, array[int]]) -> None:
        noted = kinds(image)
        for pfn in [pfn for pfn in pages if noted[pfn] == kind]:
            del pages[pfn]

    return drop


def test_a_queue_that_is_not_in_the_folder_is_missed(tmp_path: Path) -> None:
    folder = rebuilt(tmp_path, "legacy39_strict-s0-quiet", without("inv_queue"))
    with pytest.raises(
        BadImage,
        match=r"^rebuilt: pages.npz has no page 0x[0-9a-f]+, where slot 0 of the invalidation queue is$",
    ):
        check_folder(folder)


def test_leaf_tables_that_are_not_in_the_folder_explain_nothing(tmp_path: Path) -> None:
    report = check_folder(rebuilt(tmp_path, "legacy48_lazy-s0-busy", without("pt_l1")))
    counts = {tally.name: (tally.agree, tally.total) for tally in report.tallies}
    assert counts["stale explained"] == (0, 300)
    assert not report.agrees


def test_far_too_many_devices_are_refused(tmp_path: Path) -> None:
    def everywhere(image: Image, pages: dict[int, array[int]]) -> None:
        root = pages[image.registers["RTADDR"] >> 12]
        for bus in range(256):
            root[2 * bus : 2 * bus + 2] = root[0:2]
        context = pages[root[0] >> 12]
        for devfn in range(256):
            context[2 * devfn : 2 * devfn + 2] = context[32:34]

    with pytest.raises(BadImage, match=r"^rebuilt: tables name more than 4096 devices and PASIDs$"):
        check_folder(rebuilt(tmp_path, "legacy39_strict-s0-quiet", everywhere))


def test_shared_tables_do_not_blow_up(tmp_path: Path) -> None:
    """Four levels of 512 identical pointers map 2^36 pages with four tables; counting stays quick."""
    from itertools import islice

    from .rig import Tables

    tables = Tables()
    chain = [tables.page() for _ in range(4)]
    for table, below in zip(chain, [*chain[1:], 0x5000_0000], strict=True):
        for index in range(512):
            tables.memory[table + 8 * index] = below | 3
    tables.context(root=chain[0])
    started = time.process_time()
    survey = Survey(tables.unit())
    space, _ = survey.space(0x18)
    assert space is not None
    assert survey.pages(space) == 1 << 36
    assert len(list(islice(survey.ranges(space), 100))) == 100
    assert time.process_time() - started < 2
