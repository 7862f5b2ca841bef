"""Lesson 14: the aftermath. What mainline made of the series, which defects came and went with which commit,
what 6.0 still has.

Everything here is found by running (`vtdkit.lab.findings.looking`). A short look at a scenario (`SHORT`
executions) is enough to *see* a defect; that one was not seen proves nothing unless every order was tried,
which `Seen.complete` and `explore` tell.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore
from vtdkit.kernel.explorer.schedule import Schedule
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.computer import SCALABLE, Computer
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.exercises.watched import Scene, Work
from vtdkit.lab.findings.defects import DEFECTS, Defect, explain
from vtdkit.lab.findings.looking import Seen, all_findings, look, place
from vtdkit.lab.lesson.base import Table, table
from vtdkit.lab.operations import attach, plugged, probed, with_devices
from vtdkit.lab.scaling import Scaling
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.lab.steps.schedule import Steps, record_schedule
from vtdkit.series.catalogue import name_of
from vtdkit.series.mainline import versions as mainline

SHORT = 4  # executions of each scenario in a short look

# -- versions -----------------------------------------------------------------


def merged() -> Table:
    """Mainline's commits, in order: what the author changed, and what became of it."""
    rows = [
        (f"m{each.number}", each.commit, each.claim, each.fate or "-")
        for each in mainline.SERIES
        if each.number
    ]
    return table(["version", "commit", "in one line", "later"], *rows)


# -- which version has which defect -------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """What was seen in some versions and scenarios: real defects only."""

    versions: tuple[str, ...]
    seen: tuple[Seen, ...]

    def defects(self, version: str) -> tuple[str, ...]:
        """Names of the defects seen in one version, sorted."""
        return tuple(sorted({one.defect.name for one in self.seen if one.version == version and one.defect}))

    @property
    def all(self) -> tuple[Defect, ...]:
        """The defects seen in any version, in the order of `DEFECTS`."""
        return tuple(defect for defect in DEFECTS if any(one.defect == defect for one in self.seen))

    @property
    def table(self) -> Table:
        """A row for each defect, a column for each version."""
        having = {version: self.defects(version) for version in self.versions}
        cells = (
            (defect.name, *("seen" if defect.name in having[each] else "-" for each in self.versions))
            for defect in self.all
        )
        return table(["defect", *self.versions], *cells)

    @property
    def explained(self) -> Table:
        """What each defect is, and who told of it first."""
        return table(
            ["defect", "what happens", "known from"],
            *((each.name, each.about, each.source) for each in self.all),
        )


def standing(versions: Sequence[str], scenarios: Sequence[str], limit: int = SHORT) -> Standing:
    """A short look at each scenario of each version; versions as in `VERSIONS`. KeyError for
    one there is not.
    """
    seen = all_findings(versions, scenarios, limit=limit, runs=1)
    return Standing(tuple(versions), tuple(one for one in seen if one.defect is None or one.defect.real))


def deadlock(scene: Callable[[type[IntelIommu], Machine], Any], driver: type[IntelIommu]) -> Steps:
    """The first deadlock found in a scene, step by step. LookupError if no order ends in one."""
    build = partial(scene, driver)
    found = explore(build)
    for one in found.findings:
        if isinstance(one.finding, Finding) and one.finding.kind == "deadlock":
            title = f"{scene.__name__.replace('_', ' ')}, {name_of(driver)}"
            return record_schedule(build, one.schedule, shared=found.shared, title=title)
    raise LookupError(f"no deadlock in {scene.__name__} of {name_of(driver)}")


def explored(
    driver: type[IntelIommu], *scenarios: str, limit: int | None = None
) -> dict[str, ScenarioExploration]:
    """Every order of some small scenarios of one version, or `limit` of them."""
    return {name: explore(SCENARIOS[name].on(driver), limit=limit) for name in scenarios}


def problems(found: Mapping[str, ScenarioExploration]) -> dict[str, Schedule]:
    """What explorations found, without what `DEFECTS` says does no harm: kind and place, and a
    schedule that shows it.
    """
    shown = {}
    for scenario, exploration in found.items():
        for one in exploration.findings:
            assert isinstance(one.finding, Finding)
            defect = explain(one.finding.kind, place(one.finding.where), scenario)
            if defect is None or defect.real:
                shown[f"{one.finding.kind}: {one.finding.where} ({scenario})"] = one.schedule
    return shown


# -- scaling ------------------------------------------------------------------


def limits(curves: Scaling, cpus: int) -> Table:
    """Where the time goes on so many CPUs: waiting for locks, and how busy the busiest unit is."""
    points = [point for point in curves if point.cpus == cpus]
    rows = [
        (
            str(point.version),
            f"{point.ops_per_second / 1e3:,.0f}",
            f"{point.wait_share:.0%}",
            point.bottleneck or "-",
            f"{point.queue_share:.0%}",
        )
        for point in points
    ]
    return table(
        [
            "version",
            "thousand unmaps/s",
            "of their time CPUs wait for locks",
            "mostly for",
            "busiest unit at work",
        ],
        *rows,
    )


# -- exercises ----------------------------------------------------------------

#: defect, and a scenario that shows it, each soon tried in all fourteen versions
HISTORY = (
    ("device-lock-irq", "unmap-timer"),
    ("klist-irq", "fault-bus"),
    ("domain-lock-irq", "unmap-timer"),
    ("pass-through-ats", "passthrough-ats"),
    ("irq-inversion", "unmap-irq"),
)


def asked(seed: int) -> tuple[str, str]:
    """The defect of the first exercise, and the scenario that shows it."""
    return random.Random(seed).choice(HISTORY)


@cache
def has(number: int, defect: str, scenario: str) -> bool:
    """Whether mainline after commit `number` shows a defect in a scenario."""
    return any(one.defect is not None and one.defect.name == defect for one in look(f"m{number}", scenario))


def having(defect: str, scenario: str) -> tuple[int, ...]:
    """After which of mainline's commits a defect is seen."""
    return tuple(number for number in range(len(mainline.SERIES)) if has(number, defect, scenario))


def _not_the_first(seed: int, given: Any) -> str | None:
    there = having(*asked(seed))
    if given in there:
        return "it is there after this commit, but after the one before it as well"
    return "that is the commit with which it went" if given == there[-1] + 1 else None


WHO_DID_IT = Exercise(
    "who did it",
    lambda seed: (
        "The defect {!r} shows in the scenario {!r}. It is there after mainline's commit {}. "
        "With which did it come?\n"
        "lesson.has(number, defect, scenario) tells whether it is there after a commit.".format(
            *asked(seed), having(*asked(seed))[-1]
        )
    ),
    lambda seed: having(*asked(seed))[0],
    hints=[
        "lesson.asked(seed) gives both names",
        "try a version in the middle, then in the middle of the half it must be in",
    ],
    mistakes=[_not_the_first],
    why="Going halfway each time needs four tries at most, where one after the other needs up to twelve.",
)


async def intel_iommu_release_device(self: Any, dev: Any) -> None:
    """A device goes: detach it if it was ever attached, forget it."""
    info = self.dev_iommu_priv_get(dev)
    if info is None:
        return
    if info.domain is not None:
        await self.dmar_remove_one_dev_info(dev)
    dev.iommu_priv = None
    await self.machine.kfree(info)


NAME = "intel_iommu_release_device"


def _play(seed: int, function: Any) -> ScenarioExploration:
    return explore(SCENARIOS["id-exhaustion"].on(version_with(mainline.RC5, function, NAME)), limit=20)


def _release(case: str = "attached") -> Callable[[Computer], Work]:
    """A device goes: one that is attached, one that never was, one nobody has looked at."""

    def prepare(pc: Computer) -> Work:
        domain, dev = with_devices(pc, 0, ats=case != "no ATS")
        if case == "two":
            attach(pc, domain, probed(pc, 4, ats=True))
        if case == "probed":
            dev = probed(pc, 4, ats=True)
        if case == "plugged":
            dev = plugged(pc, 4)
        if case == "detached":
            pc.run(pc.driver.intel_iommu_detach_device(domain, dev))
        return lambda: pc.driver.intel_iommu_release_device(dev)

    return prepare


NEVER_ATTACHED = CodeExercise(
    "never attached",
    lambda seed: (
        f"Write {NAME}(self, dev) for 6.0: a device goes. If it has a domain it must be detached; "
        "then its record\nis forgotten and freed. When domain ids have run out, a device that "
        "never had a domain goes, too."
    ),
    lambda seed: intel_iommu_release_device,
    hints=[
        "info = self.dev_iommu_priv_get(dev) is the driver's record of the device, or None",
        "await self.dmar_remove_one_dev_info(dev) detaches; it takes for granted "
        "that info.domain is a domain",
        "whatever happens, in the end: dev.iommu_priv = None, and await self.machine.kfree(info)",
    ],
    why="One question, asked once. The repair of 2024 makes it unnecessary: the core takes a device out of "
    "its domain before the driver hears of the release.",
    base=mainline.RC5,
    scenes=[
        Scene("it is attached", _release()),
        Scene("it is attached, and has no ATS", _release("no ATS")),
        Scene("it is attached, and another one too", _release("two")),
        Scene("it has been detached", _release("detached")),
        Scene("it was never attached", _release("probed")),
        Scene("it was never looked at", _release("plugged")),
        Scene("scalable mode", _release(), SCALABLE, scalable=True),
        Scene("scalable mode, never attached", _release("probed"), SCALABLE, scalable=True),
    ],
    races=[SCENARIOS["id-exhaustion"], SCENARIOS["release-unattached"]],
    most_orders=20,
    play=_play,
)


progress, seed = of_lesson(globals())
