"""What mainline made of the series: the eleven commits of 6.0-rc1, then the two fixes of 6.0-rc5,
in the same form.

The order is v4's (posted 6 July 2022), which is what was merged. Where a commit is the same as a patch of
v1 its functions are taken from there. The base is v5.19, where devices no longer share PASID tables
(4140d77a0221), so v1's patch 02 has nothing left to do.
"""

from __future__ import annotations

from vtdkit.iommu.core import IommuDomain
from vtdkit.iommu.errno import EINVAL, ENODEV, ENOMEM
from vtdkit.iommu.intel import defs
from vtdkit.iommu.intel.debugfs import SeqFile
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.structs import device_domain_info, dmar_domain, intel_iommu, pasid_table
from vtdkit.iommu.pci import PciDevice
from vtdkit.series.p04_pgtable_walk import Patch04
from vtdkit.series.p05_root_table import Patch05
from vtdkit.series.p06_domain_ids import Patch06
from vtdkit.series.p08_irqsave import Patch08
from vtdkit.series.patch import as_in_v1, removed


class V519(IntelIommu):
    """v5.19: PASID tables are not shared any more."""

    title = "v5.19"

    for_each_device_domain = removed("4140d77a0221: PASID tables are not shared")
    search_pasid_table = removed("4140d77a0221: PASID tables are not shared")
    get_alias_pasid_table = removed("4140d77a0221: PASID tables are not shared")

    async def intel_pasid_alloc_table(self, dev: PciDevice) -> int:
        """Give the device a PASID table of its own. 0, -EINVAL, -ENOMEM. Sleeps."""
        self.machine.might_sleep()
        info = self.dev_iommu_priv_get(dev)
        if info is None or info.pasid_table is not None:
            self.machine.warn_on(True, "intel_pasid_alloc_table: no device record, or a table already")
            return -EINVAL
        table = await self.new_pasid_table(info)
        if table is None:
            return -ENOMEM
        await self.device_attach_pasid_table(info, table)
        return 0


class Commit01(V519):
    """iommu/vt-d: debugfs: Remove device_domain_lock usage"""

    title = "iommu/vt-d: debugfs: Remove device_domain_lock usage"

    async def _show_device_domain_translation(self, m: SeqFile, dev: PciDevice) -> int:
        """`__show_device_domain_translation`: the first device of a group, under
        `group->mutex`; then no other.
        """
        domain = await self.core.iommu_get_domain_for_dev(dev)
        # the kernel converts to its own structure before it tests for NULL, so its test can never come
        # true; here it would
        if domain is not None:
            await self.dump_domain(m, dev, domain.driver)
        return 1

    async def show_device_domain_translation(self, m: SeqFile, dev: PciDevice) -> int:
        """One device of the bus: its group's domain, which cannot be replaced meanwhile."""
        group = dev.group
        if group is not None:
            await self.core.iommu_group_for_each_dev(
                group, lambda other: self._show_device_domain_translation(m, other)
            )
        return 0

    async def domain_translation_struct_show(self) -> SeqFile:
        """Read the file: every device of the PCI bus, no lock of the driver's."""
        m = SeqFile(self)
        await self.bus.for_each_dev(self.shower(m))
        return m


class Commit02(Commit01):
    """iommu/vt-d: Remove clearing translation data in disable_dmar_iommu()"""

    title = "iommu/vt-d: Remove clearing translation data in disable_dmar_iommu()"

    async def disable_dmar_iommu(self, iommu: intel_iommu) -> None:
        """Translation off. Domain ids still in use mean devices still attached: a warning, and
        nothing is switched off.
        """
        if not iommu.domain_ids:
            return
        in_use = iommu.domain_ids.bit_count()
        if self.machine.warn_on(
            in_use > defs.NUM_RESERVED_DID, "disable_dmar_iommu: domain ids still in use"
        ):
            return
        if iommu.gcmd & defs.DMA_GCMD_TE:
            await self.iommu_disable_translation(iommu)


class Commit03(Commit02):
    """iommu/vt-d: Use pci_get_domain_bus_and_slot() in pgtable_walk()"""

    title = "iommu/vt-d: Use pci_get_domain_bus_and_slot() in pgtable_walk()"

    dmar_search_domain_by_dev_info = removed("8ac0b64b9735: the PCI core is asked instead")
    pgtable_walk = as_in_v1(Patch04.pgtable_walk)
    intel_iommu_probe_device = as_in_v1(Patch04.intel_iommu_probe_device)
    intel_iommu_release_device = as_in_v1(Patch04.intel_iommu_release_device)

    def init_locks(self) -> None:
        super().init_locks()
        del self.device_domain_list


class Commit04(Commit03):
    """iommu/vt-d: Unnecessary spinlock for root table alloc and free"""

    title = "iommu/vt-d: Unnecessary spinlock for root table alloc and free"

    iommu_alloc_root_entry = as_in_v1(Patch05.iommu_alloc_root_entry)
    free_context_table = as_in_v1(Patch05.free_context_table)


class Commit05(Commit04):
    """iommu/vt-d: Replace spin_lock_irqsave() with spin_lock()

    Widened in v4: `device_domain_lock` too is taken with interrupts as they are. That half is the bug.
    """

    title = "iommu/vt-d: Replace spin_lock_irqsave() with spin_lock()"

    root_tbl_walk = as_in_v1(Patch08.root_tbl_walk)
    device_context_mapped = as_in_v1(Patch08.device_context_mapped)
    domain_context_clear_one = as_in_v1(Patch08.domain_context_clear_one)
    copy_translation_tables = as_in_v1(Patch08.copy_translation_tables)

    async def iommu_flush_dev_iotlb(self, domain: dmar_domain, addr: int, mask: int) -> None:
        """Every device TLB of the domain, one wait for the hardware each, under the global lock."""
        if not domain.has_iotlb_device:
            return
        async with self.device_domain_lock:
            for info in domain.devices.entries():
                await self._iommu_flush_dev_iotlb(info, addr, mask)

    async def domain_context_mapping_one(
        self,
        domain: dmar_domain,
        iommu: intel_iommu,
        table: pasid_table | None,
        bus: int,
        devfn: int,
    ) -> int:
        """Fill in one context entry, tell the hardware, switch the device's capabilities on.
        Both locks held throughout.
        """
        self.check_mapping(domain, iommu)
        async with self.device_domain_lock, iommu.lock:
            context = await self.iommu_context_addr(iommu, bus, devfn, True)
            if context is None:
                return -ENOMEM
            if await context.lo() & defs.CONTEXT_PRESENT:
                return 0
            await self.forget_copied_entry(iommu, context, bus, devfn)
            await context.clear()
            info = await self.lookup_for_context(domain, iommu, bus, devfn)
            if not await self.fill_context(domain, iommu, context, table, info):
                return -ENOMEM
            await self.announce_context(domain, iommu, bus, devfn)
            await self.iommu_enable_dev_iotlb(info)
            return 0

    async def domain_remove_dev_info(self, domain: dmar_domain) -> None:
        """Detach every device that is still attached, under the global lock throughout."""
        async with self.device_domain_lock:
            for info in list(domain.devices.entries()):
                await self._dmar_remove_one_dev_info(info)

    async def domain_add_dev_info(self, domain: dmar_domain, dev: PciDevice) -> int:
        """Domain id, device list, PASID entry, context entries. Any failure takes back what was done."""
        info = self.dev_iommu_priv_get(dev)
        iommu = self.device_to_iommu(dev)
        if info is None or iommu is None:
            return -ENODEV
        async with self.device_domain_lock:
            info.domain = domain
            async with iommu.lock:
                error = await self.domain_attach_iommu(domain, iommu)
            if error:
                return error
            await domain.devices.add(info)
        if self.sm_supported(iommu):
            error = await self.intel_pasid_alloc_table(dev)
            if error:
                return await self.undo_attach(dev, error, "PASID table allocation failed")
            async with iommu.lock:
                error = await self.setup_rid2pasid(iommu, domain, dev)
            if error:
                return await self.undo_attach(dev, error, "Setup RID2PASID failed")
        error = await self.domain_context_mapping(domain, dev)
        return await self.undo_attach(dev, error, "Domain context map failed") if error else 0

    async def _dmar_remove_one_dev_info(self, info: device_domain_info) -> None:
        """`__dmar_remove_one_dev_info`: the whole tear-down of one device.
        Caller holds `device_domain_lock`.
        """
        self.device_domain_lock.assert_spin_locked()
        iommu, domain = info.iommu, info.domain
        await self.detach_translation(info, iommu)
        await domain.devices.del_(info)
        async with iommu.lock:
            await self.domain_detach_iommu(domain, iommu)

    async def dmar_remove_one_dev_info(self, dev: PciDevice) -> None:
        """Detach a device from its domain: everything under `device_domain_lock`."""
        async with self.device_domain_lock:
            info = self.dev_iommu_priv_get(dev)
            if info is not None:
                await self._dmar_remove_one_dev_info(info)

    async def intel_iommu_enforce_cache_coherency(self, domain: IommuDomain) -> bool:
        """Make every DMA of the domain coherent, whatever the device asks for; False if
        it cannot be done.
        """
        dmar: dmar_domain = domain.driver
        if dmar.force_snooping:
            return True
        async with self.device_domain_lock:
            if not await self.domain_support_force_snooping(dmar):
                return False
            await self.domain_set_force_snooping(dmar)
            dmar.force_snooping = True
        return True

    async def intel_iommu_enable_pasid(self, iommu: intel_iommu, dev: PciDevice) -> int:
        """Allow requests with PASID from a device (for shared virtual addressing). 0 or -EINVAL."""
        info = self.dev_iommu_priv_get(dev)
        if info is None or info.domain is None:
            return -EINVAL
        async with self.device_domain_lock, iommu.lock:
            return await self.allow_pasid(iommu, info)

    async def intel_svm_bind_mm(self, dev: PciDevice, pasid: int) -> int:
        """Put a process's page table behind a PASID of the device. 0, -EINVAL, -ENOMEM."""
        info = self.dev_iommu_priv_get(dev)
        if info is None or info.domain is None:
            return -EINVAL
        iommu = info.iommu
        error = await self.intel_iommu_enable_pasid(iommu, dev)
        if error:
            return error
        async with self.pasid_mutex:
            svm = self.svms.get(pasid) or await self.new_svm(pasid)
            if svm is None:
                return -ENOMEM
            async with iommu.lock:
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
                return error
            svm.devs.append(dev)
        return 0


class Commit06(Commit05):
    """iommu/vt-d: Acquiring lock in domain ID allocation helpers"""

    title = "iommu/vt-d: Acquiring lock in domain ID allocation helpers"

    domain_attach_iommu = as_in_v1(Patch06.domain_attach_iommu)
    domain_detach_iommu = as_in_v1(Patch06.domain_detach_iommu)
    _dmar_remove_one_dev_info = as_in_v1(Patch06._dmar_remove_one_dev_info)

    async def domain_add_dev_info(self, domain: dmar_domain, dev: PciDevice) -> int:
        """Domain id, device list, PASID entry, context entries. Any failure takes back what was done."""
        info = self.dev_iommu_priv_get(dev)
        iommu = self.device_to_iommu(dev)
        if info is None or iommu is None:
            return -ENODEV
        async with self.device_domain_lock:
            info.domain = domain
            error = await self.domain_attach_iommu(domain, iommu)
            if error:
                return error
            await domain.devices.add(info)
        if self.sm_supported(iommu):
            error = await self.intel_pasid_alloc_table(dev)
            if error:
                return await self.undo_attach(dev, error, "PASID table allocation failed")
            async with iommu.lock:
                error = await self.setup_rid2pasid(iommu, domain, dev)
            if error:
                return await self.undo_attach(dev, error, "Setup RID2PASID failed")
        error = await self.domain_context_mapping(domain, dev)
        return await self.undo_attach(dev, error, "Domain context map failed") if error else 0
