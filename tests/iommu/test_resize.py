"""Demote and promote: addresses lead where they led, sizes change, tables come and go."""

from __future__ import annotations

import pytest
from users import HARDWARE, PAGE, unexpected

from lessons.scenes.resize import demote, promote
from vtdkit.iommu.errno import EINVAL, ENOMEM
from vtdkit.lab.computer import Computer
from vtdkit.vtd.requests import Translation

BLOCK, GIGA = 512 * PAGE, 512 * 512 * PAGE


def seen(pc: Computer, iova: int) -> tuple[int, int]:
    answer = pc.dma("00:03.0", iova)
    assert isinstance(answer, Translation)
    return answer.address, answer.size


@pytest.mark.parametrize("hardware", ["legacy", "scalable, second level", "scalable, first level"])
def test_there_and_back(hardware: str) -> None:
    pc = Computer(devices=["00:03.0"], **HARDWARE[hardware])
    domain = pc.new_domain(attach="00:03.0")
    pc.map(domain, BLOCK, 0x40000000, BLOCK)
    pages = len(pc.machine.pages)
    assert seen(pc, BLOCK + 5 * PAGE) == (0x40005000, BLOCK)
    assert pc.run(demote(pc.core, domain, BLOCK + 7 * PAGE)) == 0
    assert [seen(pc, BLOCK + i * PAGE) for i in (0, 5, 511)] == [
        (0x40000000 + i * PAGE, PAGE) for i in (0, 5, 511)
    ]
    assert len(pc.machine.pages) == pages + 1
    assert pc.run(demote(pc.core, domain, BLOCK)) == -EINVAL  # no large page any more
    assert pc.run(promote(pc.core, domain, BLOCK)) == 0
    assert seen(pc, BLOCK + 5 * PAGE) == (0x40005000, BLOCK)
    assert len(pc.machine.pages) == pages
    assert pc.run(promote(pc.core, domain, BLOCK)) == -EINVAL
    assert pc.unmap(domain, BLOCK, BLOCK) == BLOCK
    assert unexpected(pc.machine) == []


def test_a_gigabyte_becomes_512_pages_of_2_mib() -> None:
    pc = Computer(devices=["00:03.0"])
    domain = pc.new_domain(attach="00:03.0")
    pc.map(domain, GIGA, GIGA, GIGA)
    assert seen(pc, GIGA + 3 * BLOCK) == (GIGA + 3 * BLOCK, GIGA)
    assert pc.run(demote(pc.core, domain, GIGA)) == 0
    assert seen(pc, GIGA + 3 * BLOCK) == (GIGA + 3 * BLOCK, BLOCK)


def test_what_is_not_a_whole_large_page_is_not_made_one() -> None:
    pc = Computer(devices=["00:03.0"])
    domain = pc.new_domain(attach="00:03.0")
    assert pc.run(promote(pc.core, domain, 0)) == -EINVAL  # nothing there
    pc.map(domain, 0, 0x40000000, BLOCK - PAGE)
    assert pc.run(promote(pc.core, domain, 0)) == -EINVAL  # one is missing
    pc.map(domain, BLOCK - PAGE, 0x90000000)
    assert pc.run(promote(pc.core, domain, 0)) == -EINVAL  # one leads elsewhere
    pc.map(domain, BLOCK, 0x5001000, BLOCK)
    assert pc.run(promote(pc.core, domain, BLOCK)) == -EINVAL  # memory is not aligned


def test_without_memory_nothing_changes() -> None:
    pc = Computer(devices=["00:03.0"])
    domain = pc.new_domain(attach="00:03.0")
    pc.map(domain, 0, 0x40000000, BLOCK)
    pc.machine.pages.faults.nth = pc.machine.pages.faults.count + 1
    assert pc.run(demote(pc.core, domain, 0)) == -ENOMEM
    assert seen(pc, PAGE) == (0x40001000, BLOCK)
