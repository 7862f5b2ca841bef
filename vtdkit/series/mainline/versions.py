"""What mainline made of the series: eleven commits in 6.0-rc1, two fixes in 6.0-rc5. `SERIES`,
`RC1` and `RC5`, `driver_at`; `RELEASED`, with a fix of 2024.

What was merged is v4 (posted 6 July 2022; pull request of 5 August, merged on the 6th as 1d239c1eb873). The
base is v5.19, where devices no longer share PASID tables, so v1's patch 02 has nothing left to do; v1's
patch 08 moved to the fifth place in v3 and was widened in v4.

Each version here is 5.19 plus so many commits of the series, and nothing else: the same pull brought an
xarray of domain ids and the end of `g_iommus`, which 6.0 has and `RC1` and `RC5` have not.
"""

from __future__ import annotations

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.series.patch import PatchInfo

from .c01_debugfs import Commit01
from .c02_disable_dmar_iommu import Commit02
from .c03_pgtable_walk import Commit03
from .c04_root_table import Commit04
from .c05_spin_lock import Commit05
from .c06_domain_ids import Commit06
from .c07_pasid import Commit07
from .c08_domain_exit import Commit08
from .c09_fold import Commit09
from .c10_accurately import Commit10
from .c11_per_domain_lock import Commit11
from .f1_irqsave import Fix1
from .f2_fault_dump import Fix2
from .f3_release import Fix3
from .v519 import V519

MERGED = "2022-07-06"

SERIES: tuple[PatchInfo, ...] = (
    PatchInfo(0, V519, "v5.19, the release before", fate="the base of the merged series"),
    PatchInfo(
        1,
        Commit01,
        "the dump holds the group's mutex instead, so the domain cannot be replaced",
        MERGED,
        "983ebe57b3af",
    ),
    PatchInfo(
        2,
        Commit02,
        "a unit that is switched off has no devices; if domain ids are in use, warn",
        MERGED,
        "98f7b0db4976",
    ),
    PatchInfo(
        3,
        Commit03,
        "the PCI core can find the device for the fault dump",
        MERGED,
        "8ac0b64b9735",
        "undone by 35bf49e05421",
    ),
    PatchInfo(
        4, Commit04, "root tables are made and freed where nobody else uses the unit", MERGED, "2e1c8dafb8c2"
    ),
    PatchInfo(
        5,
        Commit05,
        "neither lock is taken in interrupt context, so interrupts can stay on",
        MERGED,
        "ffd5869d9353",
        "for the device lock that is false; fixed by a349ffcb4daf",
    ),
    PatchInfo(
        6, Commit06, "the helpers that hand out domain ids lock for themselves", MERGED, "2c3262f9e881"
    ),
    PatchInfo(
        7,
        Commit07,
        "the PASID helpers lock for themselves, and flush after letting go",
        MERGED,
        "8430fd3f3287",
    ),
    PatchInfo(
        8, Commit08, "a domain that is freed has no devices; unmap first, then warn", MERGED, "79d82ce4027f"
    ),
    PatchInfo(9, Commit09, "detaching needs the device lock only around the list", MERGED, "db75c9573b08"),
    PatchInfo(
        10,
        Commit10,
        "the device lock is taken where the list is walked, and nowhere else",
        MERGED,
        "969aaefbaaf2",
    ),
    PatchInfo(11, Commit11, "a spin lock for each domain", MERGED, "5eaafdf0c055"),
    PatchInfo(
        12,
        Fix1,
        "unmap may run in interrupt context: interrupts off around domain->lock",
        "2022-08-17",
        "a349ffcb4daf",
    ),
    PatchInfo(13, Fix2, "the fault dump takes the table from the entry itself", "2022-08-19", "35bf49e05421"),
)

RC1 = Commit11  #: 5.19 plus the series as merged for 6.0-rc1
RC5 = Fix2  #: the same plus the two fixes of 6.0-rc5; what of 6.0 the series is about
RELEASED = Fix3  #: the same plus 81e921fd3216, of 2024


def driver_at(n: int) -> type[IntelIommu]:
    """The driver after commit `n` of `SERIES`. Raises ValueError for one there is not."""
    if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < len(SERIES):
        raise ValueError(f"mainline has versions 0 to {len(SERIES) - 1} here, not {n!r}")
    return SERIES[n].driver
