"""The series: `driver_at(n)` is the driver after patch n (0: before), `SERIES[n]` says what patch n is.

The twelve patches of "iommu/vt-d: Optimize the use of locks", v1, posted by Lu Baolu on 27 May 2022, one
module each; then `mainline`: what was merged for 6.0-rc1, and the two fixes of 6.0-rc5.
"""

from __future__ import annotations

from vtdkit.iommu.intel.driver import IntelIommu

from .mainline import versions as mainline
from .p01_debugfs import Patch01
from .p02_for_each_device_domain import Patch02
from .p03_disable_dmar_iommu import Patch03
from .p04_pgtable_walk import Patch04
from .p05_root_table import Patch05
from .p06_domain_ids import Patch06
from .p07_pasid import Patch07
from .p08_irqsave import Patch08
from .p09_domain_exit import Patch09
from .p10_fold import Patch10
from .p11_accurately import Patch11
from .p12_mutex import Patch12
from .patch import PatchInfo

POSTED = "2022-05-27"

SERIES: tuple[PatchInfo, ...] = (
    PatchInfo(
        0,
        IntelIommu,
        "the driver the series was written on",
        fate="v5.19 merge window, with two clean-up series applied",
    ),
    PatchInfo(
        1,
        Patch01,
        "the domain of a device can be had from the core, so debugfs need not take device_domain_lock",
        POSTED,
        "983ebe57b3af",
        "merged in another form: under group->mutex",
    ),
    PatchInfo(
        2,
        Patch02,
        "no need to walk every device under the lock to find an alias's PASID table",
        POSTED,
        "",
        "dropped in v3: table sharing was removed by 4140d77a0221",
    ),
    PatchInfo(
        3,
        Patch03,
        "a unit that is switched off has no devices left to detach",
        POSTED,
        "98f7b0db4976",
        "merged with a warning when domain ids are still in use",
    ),
    PatchInfo(
        4,
        Patch04,
        "the PCI core can find the device for the fault dump, so the global device list can go",
        POSTED,
        "8ac0b64b9735",
        "merged; undone in 6.0-rc5 by 35bf49e05421",
    ),
    PatchInfo(
        5,
        Patch05,
        "root tables are made and freed where nobody else uses the unit",
        POSTED,
        "2e1c8dafb8c2",
        "merged",
    ),
    PatchInfo(
        6,
        Patch06,
        "the helpers that hand out domain ids take iommu->lock themselves",
        POSTED,
        "2c3262f9e881",
        "merged",
    ),
    PatchInfo(
        7,
        Patch07,
        "the PASID helpers take iommu->lock themselves, and flush after letting it go",
        POSTED,
        "8430fd3f3287",
        "merged without the new helper",
    ),
    PatchInfo(
        8,
        Patch08,
        "what iommu->lock guards is never touched in interrupt context, so interrupts can stay on",
        POSTED,
        "ffd5869d9353",
        "merged, widened to the device lock in v4; that half was the bug a349ffcb4daf fixed",
    ),
    PatchInfo(
        9,
        Patch09,
        "a domain that is freed has no devices; if it has, that is a bug to warn about",
        POSTED,
        "79d82ce4027f",
        "merged: unmap first, then warn",
    ),
    PatchInfo(
        10,
        Patch10,
        "detaching needs device_domain_lock only around the list",
        POSTED,
        "db75c9573b08",
        "merged, and info->domain is forgotten at the end",
    ),
    PatchInfo(
        11,
        Patch11,
        "device_domain_lock is taken where the list is walked, and nowhere else",
        POSTED,
        "969aaefbaaf2",
        "merged, with info->domain set before the list_add",
    ),
    PatchInfo(
        12,
        Patch12,
        "one lock per domain instead of a global one, and one that may sleep, since the lists are never "
        "touched in interrupt context",
        POSTED,
        "5eaafdf0c055",
        "merged as a spin lock; the mutex was dropped in v2",
    ),
)


NAMES: dict[type, str] = {
    **{info.driver: f"after patch {info.number:02}" for info in SERIES},
    **{info.driver: f"mainline after {info.commit}" for info in mainline.SERIES},
    IntelIommu: "before the series",
    mainline.SERIES[0].driver: "5.19",
    mainline.RC1: "6.0-rc1",
    mainline.RC5: "6.0-rc5",
}


def driver_at(n: int) -> type[IntelIommu]:
    """The driver after patch `n` of v1; 0 is the driver before the series. Raises ValueError for a
    version there is not.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < len(SERIES):
        raise ValueError(
            f"there is no driver after patch {n!r}; the series has patches 1 to "
            f"{len(SERIES) - 1}, 0 is before it"
        )
    return SERIES[n].driver


def name_of(driver: type) -> str:
    """What a version is called in a sentence: "after patch 03", "6.0-rc5". A class that is no version: its
    own title or name.
    """
    return NAMES.get(driver) or str(vars(driver).get("title", driver.__name__))
