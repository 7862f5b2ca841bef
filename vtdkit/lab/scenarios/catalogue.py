"""The standard scenarios, by name: what `vtdkit findings` tries on every version of the driver."""

from __future__ import annotations

from . import attach, dump, fault, hardware, unmap, users
from .base import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for module in (attach, unmap, users, dump, fault, hardware)
    for scenario in module.SCENARIOS
}
