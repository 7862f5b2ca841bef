"""The standard scenarios, by name: what `vtdkit findings` tries on every version of the driver."""

from __future__ import annotations

from . import addresses, attach, dump, fault, hardware, hotplug, readers, tables, unmap, users
from .base import MODES, Observer, Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for module in (attach, unmap, users, dump, fault, hardware)
    for scenario in module.SCENARIOS
}

#: what is asked about page tables in the debate, and scenes that Linux excludes; not part of the findings
QUESTIONS: dict[str, Scenario] = {
    scenario.name: scenario
    for module in (tables, hotplug, readers, addresses)
    for scenario in module.SCENARIOS
}

__all__ = ["MODES", "QUESTIONS", "SCENARIOS", "Observer", "Scenario"]
