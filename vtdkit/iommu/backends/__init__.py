"""Page tables of other makers behind one interface: what Intel, AMD, Arm and a simple driver do with the same
calls.

`backend.py` is the interface, `kinds.py` makes one of each. Software tables, each after its file in Linux:
`arm_lpae.py` (io-pgtable-arm.c), `amd_v1.py` (amd/io_pgtable.c), `simple.py` (rockchip-iommu.c); `intel.py`
is an adapter to the driver next door. Hardware walkers, each after its public specification: `arm_walker.py`,
`amd_walker.py`; what they share, `walker.py`. `driver.py` lies between the core and a table.
`mm.py` is no IOMMU's: how a process's tables are kept.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "backend": "Answer Backend Looked",
        "driver": "IoPgtable",
        "kinds": "BACKENDS amd arm",
    },
)
