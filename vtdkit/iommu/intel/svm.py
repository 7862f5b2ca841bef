"""Shared virtual addressing: drivers/iommu/intel/svm.c, as far as it takes the locks of the series.

A process's own page table is put behind a PASID, first level. Binding takes `iommu->lock` around the
PASID entry; unbinding tears it down under `pasid_mutex`. Left out: page requests and their draining, and
the process that ends while it is bound.
"""

from __future__ import annotations

from vtdkit.iommu.errno import EINVAL, ENOMEM
from vtdkit.iommu.pci import PciDevice
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.memory.gfp import GFP_KERNEL
from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.memory.pages import Page

from . import defs
from .iommu import IommuOps
from .structs import device_domain_info, intel_iommu


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
        info: device_domain_info | None = self.dev_iommu_priv_get(dev)
        if info is None or info.domain is None:
            return -EINVAL
        error: int = await self.intel_iommu_enable_pasid(info.iommu, dev)
        if error:
            return error
        async with self.pasid_mutex:
            return await self.intel_svm_bind_mm(info.iommu, dev, pasid)

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
        if error:
            await self.drop_svm(svm)
        else:
            svm.devs.append(dev)
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

    async def drop_svm(self, svm: intel_svm) -> None:
        """Forget a binding that no device uses any more."""
        if not svm.devs:
            self.svms.pop(svm.pasid, None)
            await self.machine.free_page(svm.pgd)
            await self.machine.kfree(svm)

    async def intel_svm_unbind_mm(self, dev: PciDevice, pasid: int) -> None:
        """Take it back: the entry is torn down under `pasid_mutex`, before the series under no other."""
        async with self.pasid_mutex:
            svm = self.svms.get(pasid)
            info: device_domain_info | None = self.dev_iommu_priv_get(dev)
            if svm is None or info is None or dev not in svm.devs:
                return
            svm.devs.remove(dev)
            await self.intel_pasid_tear_down_entry(info.iommu, dev, pasid, False)
            await self.drop_svm(svm)
