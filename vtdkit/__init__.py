"""vtdkit: Intel VT-d's tables, the Linux driver that edits them, and twelve patches about its locks.

The rooms, each usable without the ones that follow it:

- `vtdkit.vtd`     the remapping hardware: tables, walk, caches, faults, queue
- `vtdkit.kernel`  what a kernel gives a driver: CPUs, virtual time, locks, pages, checkers, three ways to run
- `vtdkit.iommu`   the Linux driver as it stood before the series
- `vtdkit.series`  the twelve patches, each a class that holds just what it changed
- `vtdkit.lab`     experiments: what the notebooks call
- `vtdkit.views`   figures and widgets

Nothing is imported until it is asked for, so `import vtdkit` is quick and needs no other package.
"""

__version__ = "0.1.0"
