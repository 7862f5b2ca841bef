"""Planted defects: each mutant of the driver is caught by a checker or shows in the outcomes, or stands
below with a reason.
"""

from __future__ import annotations

from functools import cache

import pytest
from mutants import mutant, mutants

from lessons.scenes import QUESTIONS
from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.explored.exploring import explore, sample
from vtdkit.lab.findings.looking import VERSIONS, place
from vtdkit.lab.scenarios.catalogue import SCENARIOS

RACE = "BUG: KCSAN: data-race"
IRQ = "WARNING: inconsistent lock state"
ASSERT = "kernel BUG: assert_spin_locked"


KNOWN = {**SCENARIOS, **QUESTIONS}

#: version, mutant → scenario, kind of what is found ("outcome": the histogram has something new)
CAUGHT: dict[tuple[str, str], tuple[str, str]] = {
    ("m13", "domain_add_dev_info/late/0"): ("publish", RACE),
    ("m13", "domain_add_dev_info/plain/0"): ("unmap-irq", IRQ),
    ("m13", "domain_add_dev_info/unlock/0"): ("publish", RACE),
    ("m13", "domain_attach_iommu/unlock/0"): ("attach-detach", RACE),
    ("m13", "domain_context_mapping_one/unlock/0"): ("probe-probe", "outcome"),
    ("m13", "domain_detach_iommu/unlock/0"): ("attach-detach", RACE),
    ("m13", "domain_update_device_node/plain/0"): ("unmap-irq", IRQ),
    ("m13", "domain_update_iotlb/plain/0"): ("unmap-irq", IRQ),
    ("m13", "domain_update_iotlb/unlock/0"): ("attach-both", RACE),
    ("m13", "dmar_remove_one_dev_info/plain/0"): ("unmap-irq", IRQ),
    ("m13", "dmar_remove_one_dev_info/unlock/0"): ("attach-both", RACE),
    ("m13", "insert_table/loadstore/0"): ("maps-apart", "outcome"),
    ("m13", "intel_iommu_enforce_cache_coherency/plain/0"): ("enforce-irq", IRQ),
    ("m13", "intel_iommu_enforce_cache_coherency/unlock/0"): (
        "enforce-attach",
        "WARNING: lockdep_assert_held",
    ),
    ("m13", "intel_iommu_tlb_sync/early/0"): ("unmap-dma", "IOMMU: use-after-free"),
    ("m13", "iommu_flush_dev_iotlb/plain/0"): ("unmap-irq", "deadlock"),
    ("m13", "iommu_flush_dev_iotlb/unlock/0"): ("attach-same-domain", RACE),
    ("m13", "iommu_support_dev_iotlb/plain/0"): ("unmap-irq", IRQ),
    ("m13", "iommu_support_dev_iotlb/unlock/0"): ("attach-both", RACE),
    ("v0", "device_context_mapped/plain/0"): (
        "unmap-irq",
        "WARNING: possible irq lock inversion dependency detected",
    ),
    ("v0", "dmar_remove_one_dev_info/plain/0"): ("unmap-irq", IRQ),
    ("v0", "dmar_remove_one_dev_info/unlock/0"): ("attach-both", ASSERT),
    ("v0", "domain_add_dev_info/plain/0"): ("unmap-irq", IRQ),
    ("v0", "domain_add_dev_info/unlock/0"): ("publish", ASSERT),
    ("v0", "domain_add_dev_info/unlock/1"): ("publish", RACE),
    ("v0", "domain_context_mapping_one/unlock/0"): ("probe-probe", ASSERT),
    ("v0", "insert_table/loadstore/0"): ("maps-apart", "outcome"),
    ("v0", "intel_iommu_enforce_cache_coherency/unlock/0"): ("enforce-attach", ASSERT),
    ("v0", "intel_iommu_release_device/unlock/0"): ("probe-remove", RACE),
    ("v0", "intel_iommu_tlb_sync/early/0"): ("unmap-dma", "IOMMU: use-after-free"),
    ("v0", "iommu_flush_dev_iotlb/plain/0"): ("unmap-irq", "deadlock"),
    ("v0", "iommu_flush_dev_iotlb/unlock/0"): ("attach-same-domain", RACE),
}

#: mutants that nothing shows, and why that is right
HARMLESS: dict[tuple[str, str], tuple[str, str]] = {
    ("m13", "domain_context_clear_one/unlock/0"): (
        "attach-both",
        "the entry is one device's; group->mutex is held",
    ),
    ("m13", "device_context_mapped/unlock/0"): ("probe-probe", "one word of one device's own entry is read"),
    ("m13", "intel_pasid_tear_down_entry/unlock/0"): (
        "attach-detach",
        "a PASID table is one device's; group->mutex again",
    ),
    ("m13", "dmar_iommu_hotplug/unlock/0"): (
        "hot-remove",
        "one unit is taken out at a time, its devices are gone",
    ),
    ("v0", "domain_context_clear_one/plain/0"): (
        "attach-both",
        "its caller has interrupts off already, for device_domain_lock",
    ),
    ("v0", "domain_context_mapping_one/plain/0"): (
        "probe-probe",
        "the same lock of the device list, taken inside in either case",
    ),
}


def seen(driver: type[IntelIommu], scenario: str) -> set[tuple[str, str]]:
    """Kinds and places of what is found, and the outcomes."""
    build = KNOWN[scenario].on(driver)
    result = sample(build, runs=40) if scenario == "attach-both" else explore(build, limit=40)
    found = {(one.finding.kind, place(one.finding.where)) for one in result.findings}  # type: ignore[attr-defined]
    return found | {("outcome", repr(value)) for value in result.outcomes}


@cache
def sound(version: str, scenario: str) -> frozenset[tuple[str, str]]:
    """The same of the version itself."""
    return frozenset(seen(VERSIONS[version], scenario))


@pytest.mark.parametrize(("version", "name"), CAUGHT)
def test_a_planted_defect_is_caught(version: str, name: str) -> None:
    scenario, kind = CAUGHT[version, name]
    new = seen(mutant(VERSIONS[version], name).driver, scenario) - sound(version, scenario)
    assert kind in {found for found, _ in new}


@pytest.mark.parametrize(("version", "name"), HARMLESS)
def test_a_harmless_one_shows_nothing(version: str, name: str) -> None:
    scenario, _why = HARMLESS[version, name]
    assert seen(mutant(VERSIONS[version], name).driver, scenario) <= sound(version, scenario)


def test_mutants_are_made_in_the_same_order_every_time() -> None:
    names = [each.name for each in mutants(VERSIONS["m13"])]
    assert names == [each.name for each in mutants(VERSIONS["m13"])]
    assert len(names) > 60
