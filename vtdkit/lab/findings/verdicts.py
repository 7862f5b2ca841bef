"""What running says about a patch: which defects came with it, which went, which stayed.

`of(info)` for a `PatchInfo`; also `PatchInfo.verdicts`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vtdkit.series.patch import PatchInfo

from .defects import DEFECTS
from .look import LIMIT, RUNS, VERSIONS, defects


@dataclass(frozen=True, slots=True)
class Verdict:
    """One defect and one patch: `change` is "came", "went" or "stays"."""

    defect: str
    change: str
    about: str

    def __repr__(self) -> str:
        return f"{self.change:5} {self.defect}: {self.about}"


def of(info: PatchInfo, limit: int = LIMIT, runs: int = RUNS) -> tuple[Verdict, ...]:
    """The verdicts on a patch, computed by running the driver before and after it. Before the first
    there is only after.
    """
    after = set(defects(_version(info.driver), limit, runs))
    before = set(defects(_version(info.parent), limit, runs)) if info.number else after
    return tuple(
        Verdict(
            defect.name,
            "stays" if defect.name in before & after else "came" if defect.name in after else "went",
            defect.about,
        )
        for defect in DEFECTS
        if defect.name in before | after
    )


def _version(driver: type) -> str:
    return next(version for version, known in VERSIONS.items() if known is driver)
