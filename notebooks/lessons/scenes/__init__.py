"""Scenes of the debate: scenarios that `vtdkit findings` does not run, because they ask about something else
than the locks of the series, or because Linux excludes them.

`addresses.py` the DMA API's addresses, `hotplug.py` plugging in beside pulling out, `readers.py` tables that
are read while they are freed, `tables.py` two at work on one table, `pairs.py` any two calls on one domain.
On other tables than Intel's: `backends.py`; with a way to look for dirty pages: `dirty.py`, and to change
the size of pages that are mapped: `resize.py`.
"""

from __future__ import annotations

from vtdkit.lab.scenarios.base import Scenario

from . import addresses, hotplug, readers, tables

QUESTIONS: dict[str, Scenario] = {
    scenario.name: scenario
    for module in (tables, hotplug, readers, addresses)
    for scenario in module.SCENARIOS
}
