"""vtdkit: Intel VT-d's tables, the Linux driver that edits them, and twelve patches about its locks.

The rooms, each usable without the ones that follow it:

- `vtdkit.vtd`     the remapping hardware: tables, walk, caches, faults, queue
- `vtdkit.kernel`  what a kernel gives a driver: CPUs, virtual time, locks, pages, checkers, three ways to run
- `vtdkit.iommu`   the Linux driver as it stood before the series
- `vtdkit.series`  the twelve patches, each a class that holds just what it changed
- `vtdkit.lab`     experiments: what the notebooks call
- `vtdkit.views`   figures and widgets
- `vtdkit.explain` what a machine said, explained: `vtdkit.explain(text)`

Nothing is imported until it is asked for, so `import vtdkit` is quick and needs no other package.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`vtdkit.explain` without an import of it before; the room can be called."""
    if name == "explain":
        import importlib

        return importlib.import_module("vtdkit.explain")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
