"""Shared virtual addressing: drivers/iommu/intel/svm.c, as far as it takes the locks of the series.

A process's own page table is put behind a PASID, first level. Binding takes `iommu->lock` around the
PASID entry. Left out: unbinding (the entry is torn down under `pasid_mutex`; no patch of the series changes
it), page requests and their draining, and the process that ends while it is bound.
"""

from __future__ import annotations

from vtdkit.iommu.errno import ENOMEM
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.gfp import GFP_KERNEL
from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.memory.pages import Page

from . import defs
from .iommu import IommuOps
from .structs import intel_iommu


class intel_svm(KObject):
    """`struct intel_svm`: one process address space bound to devices. Guards: `devices` by `pasid_mutex`
    (and RCU for readers).
    """

    def __init__(self, machine: Machine, pasid: int, pgd: Page) -> None:
        super().__init__(machine, f"svm of PASID {pasid:#x}")
        self.pasid = pasid
        self.pgd = pgd
        self.devs: list[PciDevice] = []


class Svm(IommuOps):
    """Guards: `svms` by `pasid_mutex`."""

    def init_locks(self) -> None:
        super().init_locks()
        self.pasid_mutex = self.machine.mutex("pasid_mutex")
        self.svms: dict[int, intel_svm] = {}

    async def intel_svm_bind(self, dev: PciDevice, pasid: int) -> int:
        """Put a process's page table behind a PASID of the device. 0, -EINVAL, -ENOMEM."""
        _, iommu = self.info_and_unit(dev)
        error = await self.intel_iommu_enable_pasid(iommu, dev)
        if error:
            return error
        async with self.pasid_mutex:
            return await self.intel_svm_bind_mm(iommu, dev, pasid)

    async def intel_svm_bind_mm(self, iommu: intel_iommu, dev: PciDevice, pasid: int) -> int:
        """The record of the binding, then the PASID entry. Caller holds `pasid_mutex`."""
        svm = self.svms.get(pasid) or await self.new_svm(pasid)
        if svm is None:
            return -ENOMEM
        # the entry is filled in under the lock of its table, a process's table has four levels (no flags)
        async with iommu.lock.irqsave():
            error = await self.intel_pasid_setup_first_level(
                iommu, dev, svm.pgd, pasid, defs.FLPT_DEFAULT_DID, 0
            )
        return await self.bound(svm, dev, error)

    async def bound(self, svm: intel_svm, dev: PciDevice, error: int) -> int:
        """The end of `intel_svm_bind_mm`: note the device, or, after an error, forget the binding."""
        if not error:
            svm.devs.append(dev)
        elif not svm.devs:
            del self.svms[svm.pasid]
            await self.machine.free_page(svm.pgd)
            await self.machine.kfree(svm)
        return error

    async def new_svm(self, pasid: int) -> intel_svm | None:
        """The record of a binding, and (standing in for the process's page table) its top table."""
        pgd = await self.machine.alloc_page(GFP_KERNEL, name=f"process page table, PASID {pasid:#x}")
        if pgd is None:
            return None
        if (svm := await self.machine.kmalloc(intel_svm, pasid, pgd)) is None:
            await self.machine.free_page(pgd)
        else:
            self.svms[pasid] = svm
        return svm
