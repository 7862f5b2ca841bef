"""What the driver prints is what Linux prints, to the letter: held against
public reports (folder `public`).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vtdkit.iommu.errno import EINVAL
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.debugfs import COLUMNS, HEADER
from vtdkit.lab.computer import SCALABLE, Computer
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

PUBLIC = Path(__file__).parent / "public"
DEVICES = ["00:03.0", "00:1d.2"]  # 00:1d.2 is in the upper half of the bus: devfn eah


def shape(line: str) -> str:
    """A line with its numbers and names of units and reasons taken out: only the format is left."""
    line = re.sub(r"(?<=fault reason 0x..\] ).*", "…", line)
    line = re.sub(r"dmar\d", "dmarN", line)
    line = re.sub(r"(?<=entry\[)\d", "N", line)
    line = re.sub(r"\b\d+$", "N", line)  # status register, level
    fixed = r"0x[0-9a-f]{16}\b"
    return re.sub(r"0x[0-9a-f]+\b", "0xN", re.sub(r"\d\d:..\.\d", "B:D.F", re.sub(fixed, "0x16", line)))


@pytest.fixture
def scalable() -> Computer:
    """A computer in scalable mode, with a mapped page in each of two domains."""
    pc = Computer(devices=DEVICES, units=SCALABLE, scalable=True)
    for address in DEVICES:
        pc.map(pc.domain_of(address), 0x10000, 0x5000000)
    return pc


def faulted(pc: Computer, address: str = "00:03.0", iova: int = 0x70AD5000) -> list[str]:
    """What one bad DMA leaves in the log."""
    pc.driver.log.clear()
    pc.dma(address, iova, "read")
    return pc.driver.log


def test_a_fault_in_scalable_mode_prints_the_lines_of_a_real_one(scalable: Computer) -> None:
    """§1.8, §1.11, §1.18."""
    real = [shape(line) for line in (PUBLIC / "dump-0x51.txt").read_text().splitlines()]
    ours = [
        shape(line) for line in faulted(scalable) if "entry[" not in line or int(line.split("[")[1][0]) < 3
    ]
    assert [line for line in ours if not line.startswith("DMAR: pte level")] == real


def test_a_fault_of_an_upper_function_shows_both_halves_of_its_root_entry(scalable: Computer) -> None:
    """§1.18."""
    root = next(line for line in faulted(scalable, "00:1d.2") if "root entry" in line)
    high, low = re.fullmatch(r"DMAR: scalable mode root entry: hi (0x\w{16}), low (0x\w{16})", root).groups()  # type: ignore[union-attr]
    assert int(high, 16) & 1
    assert int(low, 16) & 1
    assert high != low


def test_a_fault_in_legacy_mode_is_line_by_line_as_the_report_of_august_2022_has_it() -> None:
    """§1.8, §1.11."""
    pc = Computer(devices=["00:03.0"])
    pc.map(pc.domain_of("00:03.0"), 0, 0x5000000, prot=1)
    pc.driver.log.clear()
    pc.dma("00:03.0", 0, "write")
    assert [re.sub(r"0x\w{16}", "0x16", line) for line in pc.driver.log] == [
        "DMAR: DRHD: handling fault status reg 2",
        "DMAR: [DMA Write NO_PASID] Request device [00:03.0] fault addr 0x0 [fault reason 0x05] "
        "PTE Write access is not set",
        "DMAR: Dump dmar0 table entries for IOVA 0x0",
        "DMAR: root entry: 0x16",
        "DMAR: context entry: hi 0x16, low 0x16",
        *(f"DMAR: pte level: {level}, pte value: 0x16" for level in (4, 3, 2, 1)),
    ]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (0x07, "[fault reason 0x07] Next page table ptr is invalid"),
        (0x0B, "[fault reason 0x0b] non-zero reserved fields in CTP"),
        (0x51, "[fault reason 0x51] SM: Present bit in Directory Entry is clear"),
        (0x71, "[fault reason 0x71] SM: Present bit in first-level paging entry is clear"),
        (0x5F, "[fault reason 0x5f] Unknown"),
    ],
)
def test_every_reason_has_the_kernels_text(reason: int, text: str) -> None:
    """§1.18."""
    pc = Computer(devices=["00:03.0"])
    pc.run(pc.driver.dmar_fault_do_one(pc.iommu(), 0x70AD5000, 0x0010, reason | 1 << 30))
    assert (
        pc.driver.log[-2 if "Dump" in pc.driver.log[-1] else 0]
        == f"DMAR: [DMA Read NO_PASID] Request device [00:02.0] fault addr 0x70ad5000 {text}"
    )


def test_a_blocked_interrupt_is_no_dma_write() -> None:
    """§1.18: the line of fault-lines.txt, as 5.19 spells it; the index, and no tables."""
    pc = Computer(devices=["00:03.0"])
    pc.run(pc.driver.dmar_fault_do_one(pc.iommu(), 0xA00 << 48, 0xC928, 0x25))
    assert pc.driver.log == [
        "DMAR: [INTR-REMAP] Request device [c9:05.0] fault index 0xa00 [fault reason 0x25] "
        "Blocked a compatibility format interrupt request"
    ]


def test_ten_messages_in_five_seconds_the_status_line_and_the_last_look_among_them() -> None:
    """§1.11: a fault takes three of the ten, so the fourth one is cleared and not printed."""
    pc = Computer(devices=["00:03.0"])
    for _ in range(6):
        pc.dma("00:03.0", 0x10000, "read")
    assert sum("DRHD" in line for line in pc.driver.log) == 4
    assert sum("Request device" in line for line in pc.driver.log) == 3
    assert not pc.hardware[0].unit.read(defs.DMAR_FSTS_REG) & defs.DMA_FSTS_PPF  # cleared all the same
    pc.machine.advance(5_000_000_001)
    pc.dma("00:03.0", 0x10000, "read")
    assert sum("Request device" in line for line in pc.driver.log) == 4


def test_a_bad_descriptor_is_reported_in_the_words_of_a_real_report() -> None:
    """The queue's own error lines (`qi_dump_fault`): no unit named, what stands at the head and before it."""
    pc = Computer(devices=["00:03.0"])
    assert pc.run(pc.driver.qi_submit_sync(pc.iommu(), [(0xF, 0, 0, 0)])) == -EINVAL
    error, head, prior, cleared = pc.driver.log
    real = [line for line in (PUBLIC / "fault-lines.txt").read_text().splitlines() if "DMAR: QI" in line]
    assert re.fullmatch(r"DMAR: VT-d detected Invalidation Queue Error: Reason [0-9a-f]", error)
    assert re.sub("qw0 = 0x0,", "qw0 = 0xf,", real[0]) == head
    assert re.sub("qw1 = .*", "", real[1]) == re.sub("qw1 = .*", "", prior)
    assert cleared == "DMAR: Invalidation Queue Error (IQE) cleared"


def test_the_page_table_dump_has_five_columns_and_a_frame_of_thirteen_digits() -> None:
    """§1.8."""
    pc = Computer(devices=["00:03.0"])
    domain = pc.domain_of("00:03.0")
    pc.map(domain, 0x10000, 0x5000000)
    pc.map(domain, 0x200000, 0x4000_0000, 1 << 21)
    lines = pc.run(pc.driver.domain_translation_struct_show()).lines
    assert lines[0] == f"Device 0000:00:03.0 @{pc.dmar(domain).pgd.address:#x}"
    assert lines[1] == HEADER == "IOVA_PFN\t\tPML5E\t\t\tPML4E\t\t\tPDPE\t\t\tPDE\t\t\tPTE"
    small, large = (line.split("\t") for line in lines[2:4])
    zero = "0x0000000000000000"
    assert [len(row) for row in (small, large)] == [6, 6]
    assert (small[0], small[1], small[5]) == ("0x0000000000010 |", zero, "0x0000000005000003")
    assert (large[0], large[4], large[5]) == ("0x0000000000200 |", "0x0000000040000083", zero)
    assert lines[4:] == [""]


@pytest.mark.parametrize("modes", [{}, {"units": SCALABLE, "scalable": True}])
def test_the_table_dump_has_the_columns_of_a_real_one(modes: dict[str, object]) -> None:
    """§1.8."""
    real = (PUBLIC / "dmar_translation_struct.txt").read_text().splitlines()
    pc = Computer(devices=["00:02.0"], **modes)  # type: ignore[arg-type]
    title, columns, row, last = pc.run(pc.driver.dmar_translation_struct_show()).lines
    assert shape(title) == shape(real[0]).replace("dmar1", "dmarN")
    assert columns == COLUMNS == real[1]
    wanted = real[6 if modes else 2].split("\t")
    assert [shape(part) for part in row.split("\t")[1:]] == [shape(part) for part in wanted[1:]]
    assert row.startswith("00:02.0\t")
    assert last == ""


@pytest.mark.parametrize("driver", [driver_at(0), driver_at(1), mainline.driver_at(1)])
def test_a_text_that_does_not_fit_is_made_again_with_twice_the_room(driver: type) -> None:
    """§1.9: 512 lines are five complete dumps, and before the patch each is under the lock."""
    pc = Computer(driver=driver, devices=["00:03.0"])
    pc.map(pc.domain_of("00:03.0"), 0, 0x5001000, 512 * 4096)
    m = pc.run(pc.driver.domain_translation_struct_show())
    assert (m.size, len(m.lines)) == (65536, 515)
    taken = {row.name: row.write.acquisitions for row in pc.machine.lock_stat()}
    held = taken.get("device_domain_lock", 0) - taken_by_setup(driver)
    assert held == (5 if driver is driver_at(0) else 0)


def taken_by_setup(driver: type) -> int:
    """How often the device lock is taken before the dump."""
    pc = Computer(driver=driver, devices=["00:03.0"])
    pc.map(pc.domain_of("00:03.0"), 0, 0x5001000, 512 * 4096)
    return {row.name: row.write.acquisitions for row in pc.machine.lock_stat()}.get("device_domain_lock", 0)
