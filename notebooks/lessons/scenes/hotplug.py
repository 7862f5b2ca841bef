"""Scenarios: a device is plugged in while another, whose PASID table it may share, is pulled out.

Linux plugs and pulls under `pci_rescan_remove_lock`, so that the two never run side by side; each scene is
there with that lock and without it. Nothing else would keep them apart: `release_device` runs without
`group->mutex`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.scenarios.base import Observer, Scenario, computer

#: what is pulled out, what is plugged in with which options
PAIRS: dict[str, tuple[str, str, Mapping[str, Any]]] = {
    "alias": ("03:00.0", "03:00.1", {"aliases": ("03:00.0",)}),
    "bridge": ("00:0d.0", "02:03.0", {"aliases": ("02:00.0 via 00:0d.0",)}),
}


def plug_unplug(pair: str, excluded: bool, driver: type[IntelIommu], machine: Machine) -> Observer:
    """One of the pair, on the bus already, is probed while the other is released, in scalable mode."""
    old, new, options = PAIRS[pair]
    pc = computer(driver, machine, "second level", devices=[old])
    dev = pc.add_device(new, probe=False, **options)
    probe = partial(pc.core.iommu_probe_device, dev)
    release = partial(pc.core.iommu_release_device, pc.devices[old])
    locked = pc.bus.rescan_or_remove
    plug = machine.spawn(locked(probe) if excluded else probe(), cpu=0, name="plug in")
    machine.spawn(locked(release) if excluded else release(), cpu=1, name="pull out")
    return lambda: (plug.result,)


SCENARIOS = tuple(
    Scenario(
        f"plug-{pair}" + ("-excluded" if excluded else ""),
        f"{new} is plugged in while {old} is pulled out, "
        + ("under pci_rescan_remove_lock" if excluded else "without pci_rescan_remove_lock"),
        partial(plug_unplug, pair, excluded),
        cpus=2,
    )
    for pair, (old, new, _) in PAIRS.items()
    for excluded in (False, True)
)
