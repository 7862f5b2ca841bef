"""Shared virtual addressing: drivers/iommu/intel/svm.c, as far as it takes the locks of the series.

A process's own page table is put behind a PASID, first level. Binding takes `iommu->lock` around the
PASID entry; unbinding tears it down under `pasid_mutex`, and a process that ends while bound tears it
down from its last breath, under `rcu_read_lock`.
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
from .structs import device_domain_info


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

    async def intel_svm_bind_mm(self, dev: PciDevice, pasid: int) -> int:
        """Put a process's page table behind a PASID of the device. 0, -EINVAL, -ENOMEM."""
        info: device_domain_info | None = self.dev_iommu_priv_get(dev)
        if info is None or info.domain is None:
            return -EINVAL
        iommu = info.iommu
        error = await self.intel_iommu_enable_pasid(iommu, dev)
        if error:
            return int(error)
        async with self.pasid_mutex:
            svm = self.svms.get(pasid) or await self.new_svm(pasid)
            if svm is None:
                return -ENOMEM
            async with iommu.lock.irqsave():
                error = await self.intel_pasid_setup_first_level(
                    iommu,
                    dev,
                    svm.pgd,
                    pasid,
                    defs.FLPT_DEFAULT_DID,
                    self.svm_flags(),
                )
            if error:
                await self.drop_svm(svm)
                return int(error)
            svm.devs.append(dev)
        return 0

    def svm_flags(self) -> int:
        """A process's table has as many levels as the CPU's: four here."""
        return 0

    async def new_svm(self, pasid: int) -> intel_svm | None:
        """The record of a binding, and (standing in for the process's page table) its top table."""
        pgd = await self.machine.alloc_page(GFP_KERNEL, name=f"process page table, PASID {pasid:#x}")
        svm = await self.machine.kmalloc(intel_svm, pasid, pgd) if pgd is not None else None
        if svm is None and pgd is not None:
            await self.machine.free_page(pgd)
        if svm is not None:
            self.svms[pasid] = svm
        return svm

    async def drop_svm(self, svm: intel_svm) -> None:
        """Forget a binding that no device uses any more."""
        if not svm.devs:
            self.svms.pop(svm.pasid, None)
            await self.machine.free_page(svm.pgd)
            await self.machine.kfree(svm)

    async def intel_svm_unbind_mm(self, dev: PciDevice, pasid: int) -> None:
        """Take it back: the entry is torn down under `pasid_mutex`, before the
        series with no `iommu->lock`.
        """
        async with self.pasid_mutex:
            svm = self.svms.get(pasid)
            info: device_domain_info | None = self.dev_iommu_priv_get(dev)
            if svm is None or info is None or dev not in svm.devs:
                return
            svm.devs.remove(dev)
            await self.intel_pasid_tear_down_entry(info.iommu, dev, pasid, False)
            await self.intel_svm_drain_prq(dev)
            await self.drop_svm(svm)

    async def intel_svm_drain_prq(self, dev: PciDevice) -> None:
        """Wait until no page request of the device is on its way: a wait descriptor with the drain bit."""
        info: device_domain_info | None = self.dev_iommu_priv_get(dev)
        if info is not None and info.pri_enabled:
            await self.pasid_mutex.release()
            await self.qi_submit_sync(info.iommu, [self.drain_desc()], defs.QI_OPT_WAIT_DRAIN)
            await self.pasid_mutex.acquire()

    def drain_desc(self) -> tuple[int, int, int, int]:
        """A global PASID-cache invalidation, which the drain rides on."""
        return defs.QI_PC_GLOBAL << 4 | defs.QI_PC_TYPE, 0, 0, 0

    async def intel_mm_release(self, pasid: int) -> None:
        """The process ends: its entries go, faults of what is still under way are not
        reported. Under `rcu_read_lock`.
        """
        svm = self.svms.get(pasid)
        if svm is None:
            return
        async with self.machine.rcu.read():
            for dev in svm.devs:
                info: device_domain_info | None = self.dev_iommu_priv_get(dev)
                if info is not None:
                    await self.intel_pasid_tear_down_entry(info.iommu, dev, pasid, True)
