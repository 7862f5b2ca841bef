"""Held the wrong way round, the core answers as Linux does, or says in one sentence what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vtdkit.iommu.errno import EBUSY, EFAULT, EINVAL
from vtdkit.kernel.checkers.findings import KernelBug
from vtdkit.lab.computer import Computer
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import BadRequest, Fault

DEVICE, PAGE = "00:03.0", 4096
NO_NUMBER = "it must be a whole number from 0 to 2^64 - 1, as in 0x1000"


def here() -> tuple[Computer, Any]:
    pc = Computer(devices=[DEVICE])
    return pc, pc.domain_of(DEVICE)


# -- Linux's answers -----------------------------------------------------------


def test_what_is_not_aligned_is_refused_with_a_line_in_the_log() -> None:
    pc, domain = here()
    pc.map(domain, 0x1000, 0x5000000)
    pc.driver.log.clear()
    assert pc.unmap(domain, 0x1001) == 0
    assert pc.unmap(domain, 0x1000, 0x800) == 0
    assert pc.map(domain, 0x2000, 0x5000800) == -EINVAL
    assert pc.driver.log == [
        "iommu: unaligned: iova 0x1001 size 0x1000 min_pagesz 0x1000",
        "iommu: unaligned: iova 0x1000 size 0x800 min_pagesz 0x1000",
        "iommu: unaligned: iova 0x2000 pa 0x0000000005000800 size 0x1000 min_pagesz 0x1000",
    ]
    assert pc.dma(DEVICE, 0x1000).address == 0x5000000
    assert not pc.machine.findings


def test_nothing_is_mapped_and_unmapped_without_complaint() -> None:
    pc, domain = here()
    assert (pc.map(domain, 0x1000, 0x5000000, 0), pc.unmap(domain, 0x1000, 0)) == (0, 0)
    assert isinstance(pc.dma(DEVICE, 0x1000), Fault)
    assert not pc.machine.findings


@pytest.mark.parametrize("iova", [1 << 48, 1 << 57, (1 << 64) - PAGE])
def test_an_address_beyond_the_width_is_a_fault_and_said_so(iova: int) -> None:
    pc, domain = here()
    assert pc.map(domain, iova, 0x5000000) == -EFAULT
    assert "iommu width (48) is not sufficient for the mapped address" in pc.driver.log[-1]


def test_unmapping_beyond_the_width_is_a_kernel_bug_as_in_linux() -> None:
    pc, domain = here()
    with pytest.raises(KernelBug, match="unmap beyond the domain's width"):
        pc.unmap(domain, 1 << 57)


def test_unmapping_twice_says_the_same_both_times() -> None:
    """The driver does not look whether there was anything: in Linux neither."""
    pc, domain = here()
    pc.map(domain, 0x1000, 0x5000000, 2 * PAGE)
    assert [pc.unmap(domain, 0x1000), pc.unmap(domain, 0x1000)] == [PAGE, PAGE]
    assert pc.dma(DEVICE, 0x2000).address == 0x5001000
    assert not pc.machine.findings


def test_an_identity_domain_has_nothing_to_map() -> None:
    pc = Computer(devices=[DEVICE], default_type="identity")
    domain = pc.domain_of(DEVICE)
    assert (pc.map(domain, 0x1000, 0x5000000), pc.unmap(domain, 0x1000)) == (-EINVAL, 0)
    assert pc.driver.log == []


def test_detaching_what_is_not_attached_warns_and_does_nothing() -> None:
    pc, domain = here()
    pc.map(domain, 0x1000, 0x5000000)
    pc.run(pc.core.iommu_detach_device(pc.new_domain(), pc.devices[DEVICE]))
    assert [finding.where for finding in pc.machine.findings] == [
        f"iommu_detach_device: {DEVICE} is not attached to this domain"
    ]
    assert pc.domain_of(DEVICE) is domain
    assert pc.dma(DEVICE, 0x1000).address == 0x5000000


def test_detaching_from_the_default_domain_is_no_work_and_no_lock() -> None:
    pc, domain = here()
    first = len(pc.machine.trace())
    pc.run(pc.core.iommu_detach_device(domain, pc.devices[DEVICE]))
    locks = {event.object for event in list(pc.machine.trace())[first:] if event.kind == "acquire"}
    assert locks <= {"group->mutex"}
    assert pc.domain_of(DEVICE) is domain


def test_attaching_twice_is_busy() -> None:
    pc, _ = here()
    domain = pc.new_domain(attach=DEVICE)
    assert pc.run(pc.core.iommu_attach_device(domain, pc.devices[DEVICE])) == -EBUSY
    assert pc.run(pc.core.iommu_attach_device(pc.new_domain(), pc.devices[DEVICE])) == -EBUSY


# -- one sentence --------------------------------------------------------------


SENTENCES: dict[str, tuple[Callable[[Computer, Any], Any], type[Exception], str]] = {
    "negative address": (lambda pc, d: pc.map(d, -PAGE, 0), ValueError, f"iova is -4096; {NO_NUMBER}"),
    "negative size": (lambda pc, d: pc.unmap(d, PAGE, -PAGE), ValueError, f"size is -4096; {NO_NUMBER}"),
    "more than 64 bits": (
        lambda pc, d: pc.map(d, 1 << 64, 0),
        ValueError,
        f"iova is 18446744073709551616; {NO_NUMBER}",
    ),
    "text for a number": (
        lambda pc, d: pc.map(d, "0x1000", 0),
        ValueError,
        f"iova is '0x1000'; {NO_NUMBER}",
    ),
    "negative size, awaited": (
        lambda pc, d: pc.run(pc.core.iommu_map(d, 0, 0, -PAGE, 3)),
        ValueError,
        f"size is -4096; {NO_NUMBER}",
    ),
    "text for a domain": (
        lambda pc, d: pc.map("dma", 0, 0),
        ValueError,
        "'dma' is no domain or device of this machine; make it there",
    ),
    "a domain of another machine": (
        lambda pc, d: pc.map(Computer().domain_of(DEVICE), 0, 0),
        ValueError,
        "<dma domain 2> is no domain or device of this machine; make it there",
    ),
    "attach to a domain of another machine": (
        lambda pc, d: pc.run(pc.core.iommu_attach_device(Computer().new_domain(), pc.devices[DEVICE])),
        ValueError,
        "<unmanaged domain 3> is no domain or device of this machine; make it there",
    ),
    "attach a device of another machine": (
        lambda pc, d: pc.run(pc.core.iommu_attach_device(d, Computer().devices[DEVICE])),
        ValueError,
        f"<PCI {DEVICE}> is no domain or device of this machine; make it there",
    ),
    "an address for a device": (
        lambda pc, d: pc.run(pc.core.iommu_detach_device(d, DEVICE)),  # type: ignore[arg-type]
        ValueError,
        f"'{DEVICE}' is no domain or device of this machine; make it there",
    ),
    "a device there is not": (
        lambda pc, d: pc.dma("00:09.0", 0),
        ValueError,
        f"no device '00:09.0'; there are {DEVICE}",
    ),
    "DMA to a negative address": (
        lambda pc, d: pc.dma(DEVICE, -1),
        BadRequest,
        "address=-0x1 does not fit in 64 bits",
    ),
    "a domain of no type": (
        lambda pc, d: pc.new_domain("dmx"),
        KernelBug,
        "no domain of type dmx could be allocated",
    ),
    "a unit without a queue": (
        lambda pc, d: Computer(units=Capabilities(QI=0, DT=0, IR=0, EIM=0, MHMV=0)),
        KernelBug,
        "intel_iommu_init failed with -2: DMAR: dmar0: no queued invalidation (-2); this driver needs it",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_a_mistake_is_told_in_one_sentence(case: str) -> None:
    do, kind, sentence = SENTENCES[case]
    pc, domain = here()
    with pytest.raises(kind) as caught:
        do(pc, domain)
    assert str(caught.value) == sentence
    assert not pc.machine.findings


def test_a_long_name_is_not_echoed_whole() -> None:
    pc, _ = here()
    with pytest.raises(ValueError, match="no device") as caught:
        pc.dma("x" * 10_000, 0)
    assert len(str(caught.value)) < 200
