"""`findings`: every version of the driver in the standard scenarios, with every checker on; which
version has which defect.

Each scenario is tried in every order; of the few that have too many, as their `why` says, random ones are.
What is reported is what the checkers of the kernel room said, named by `defects`. Of the versions that do the
same in a scenario one is run (`alike`). Same arguments, same answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.explored.exploring import explore, sample
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.series.catalogue import SERIES
from vtdkit.series.mainline import versions as mainline

from .alike import alike, noting
from .defects import Defect, explain

#: name → driver: v1 of the series, then mainline
VERSIONS: dict[str, type[IntelIommu]] = {
    **{f"v{info.number}": info.driver for info in SERIES},
    **{f"m{info.number}": info.driver for info in mainline.SERIES},
}
NICKNAMES = {"6.0-rc1": "m11", "6.0-rc5": f"m{len(mainline.SERIES) - 1}", "5.19": "m0", "before": "v0"}


@dataclass(frozen=True, slots=True, repr=False)
class Seen:
    """One finding in one scenario of one version.

    `times` of `executions` showed it; `schedule` replays one of them (with `shared`, see `kernel.exploring`).
    `complete`: every order was tried.
    """

    version: str
    scenario: str
    kind: str
    where: str
    functions: tuple[str, ...]
    contexts: tuple[str, ...]
    held: tuple[str, ...]
    text: str
    schedule: str
    times: int
    executions: int
    complete: bool
    shared: frozenset[int] = field(default=frozenset(), compare=False)

    @property
    def defect(self) -> Defect | None:
        """What explains it."""
        return explain(self.kind, self.where, self.scenario)

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        values = {name: value for name, value in asdict(self).items() if name not in ("text", "shared")}
        defect = self.defect
        return {**values, "defect": defect.name if defect else None, "shared": sorted(self.shared)}

    def __repr__(self) -> str:
        return f"<{self.version} {self.scenario}: {self.kind}: {self.where} [{', '.join(self.functions)}]>"


def place(where: str) -> str:
    """What a finding is about, without the number of the domain."""
    return re.sub(r"domain \d+ (level \d+ table|page directory)", "page table", where)


def number(version: str) -> str:
    """The name in `VERSIONS` of a version as people call it. KeyError says which there are."""
    name = NICKNAMES.get(version, version)
    if name not in VERSIONS:
        raise KeyError(
            f"there is no version {version!r}; there are {', '.join(VERSIONS)}, {', '.join(NICKNAMES)}"
        )
    return name


def look(version: str, scenario: str, limit: int | None = None, runs: int | None = None) -> tuple[Seen, ...]:
    """What shows up in one scenario of one version; of one with too many orders so many random ones
    (`runs` in place of its own), after the first ones if there is a `limit`.
    """
    return _look(VERSIONS[version], version, scenario, limit, runs)


def _look(
    driver: type[IntelIommu], version: str, scenario: str, limit: int | None, runs: int | None
) -> tuple[Seen, ...]:
    known = SCENARIOS[scenario]
    build = known.on(driver)
    results = []
    if limit is not None or not known.why:
        # that the driver's threads share nothing unseen is for a test to find, not for each run
        bound = limit if known.why else None
        shared = frozenset[int]() if known.alone else None  # then nothing is, and nobody need look
        results.append(explore(build, limit=bound, sections=known.sections, trusted=True, shared=shared))
    if known.why:
        results.append(sample(build, runs=runs or known.runs))
    found: dict[tuple[str, str], Seen] = {}
    for result in results:
        for one in result.findings:
            finding = one.finding
            assert isinstance(finding, Finding)
            seen = Seen(
                version,
                scenario,
                finding.kind,
                place(finding.where),
                finding.functions,
                finding.contexts,
                finding.held,
                finding.text,
                one.schedule.text,
                one.times,
                result.executions + result.deadlocks,
                result.complete,
                result.shared,
            )
            found.setdefault((seen.kind, seen.where), seen)
    return tuple(found.values())


def _row(task: tuple[str, Sequence[str], int | None, int | None]) -> list[tuple[Seen, ...]]:
    """One scenario in some versions; of those that do the same in it, one is run."""
    scenario, versions, limit, runs = task
    ran: list[tuple[type[IntelIommu], set[str], tuple[Seen, ...]]] = []
    row = []
    for version in versions:
        driver = VERSIONS[version]
        seen = next((seen for other, used, seen in ran if alike(driver, other, used)), None)
        if seen is None:
            noted, used = noting(driver)
            seen = _look(noted, version, scenario, limit, runs)
            ran.append((driver, used, seen))
        row.append(tuple(replace(one, version=version) for one in seen))
    return row


@cache
def findings(version: str, limit: int | None = None, runs: int | None = None) -> tuple[Seen, ...]:
    """Everything found in one version ("v4", "m13", "6.0-rc1"), over all scenarios."""
    return all_findings((version,), limit=limit, runs=runs)


def all_findings(
    versions: Sequence[str] = tuple(VERSIONS),
    scenarios: Sequence[str] = tuple(SCENARIOS),
    *,
    limit: int | None = None,
    runs: int | None = None,
    executor: Executor | None = None,
) -> tuple[Seen, ...]:
    """Everything found in some versions and scenarios, version by version; with an executor, the scenarios
    are spread over its workers.
    """
    names = [number(version) for version in versions]
    tasks = [(scenario, names, limit, runs) for scenario in scenarios]
    rows = list(executor.map(_row, tasks) if executor is not None else map(_row, tasks))
    return tuple(seen for column in zip(*rows, strict=True) for found in column for seen in found)
