"""Which version has which defect: found by running, compared with what the record says."""

from __future__ import annotations

import json

import pytest

from vtdkit.cli import main
from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.explored.exploring import explore, replay
from vtdkit.lab.findings.defects import DEFECTS, explain
from vtdkit.lab.findings.looking import VERSIONS, Seen, look, number, place
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.series.mainline import versions as mainline

V1 = [f"v{n}" for n in range(13)]
MAINLINE = [f"m{n}" for n in range(14)]
EVERY = V1 + MAINLINE

#: defect → the scenario that shows it, and the versions that have it (series.md §3 and §6; the rest see the
#: notes in `defects`)
KNOWN: dict[str, tuple[str, list[str]]] = {
    "dump-unmap": ("dump-unmap", EVERY),
    "dump-free": ("dump-free", V1[1:]),
    "fault-list": ("fault-probe", V1[:4] + MAINLINE[:3]),
    "klist-irq": ("fault-bus", V1[4:] + MAINLINE[3:13]),
    "device-leak": ("fault-reference", V1[4:] + MAINLINE[3:13]),
    "assert-unlocked": ("dump-free", ["v10", "m9"]),
    "publish-early": ("publish", ["v11", "v12"]),
    "pass-through-ats": ("passthrough-ats", ["v11", "v12", *MAINLINE[10:]]),
    "sleep-atomic": ("unmap-timer", ["v12"]),
    "mutex-irq": ("unmap-irq", ["v12"]),
    "device-lock-irq": ("unmap-irq", MAINLINE[5:11]),
    "domain-lock-irq": ("unmap-irq", ["m11"]),
    "irq-inversion": ("unmap-irq", ["v8", "v9", "v10", *MAINLINE[5:10]]),
    "race-max-addr": ("unmap-unmap", EVERY),
    # §1.2 and §1.5
    "release-unattached": ("release-unattached", EVERY),
    "dump-absent": ("fault-unattached", ["m13"]),
    # §1.10
    "dump-no-record": ("dump-unprobed", ["v0", "m0"]),
}


@pytest.fixture(scope="module")
def seen() -> dict[tuple[str, str], tuple[Seen, ...]]:
    """Everything found in the scenarios above, each explored completely."""
    return {
        (version, scenario): look(version, scenario)
        for version in VERSIONS
        for scenario in {s for s, _ in KNOWN.values()}
    }


@pytest.mark.parametrize("defect", KNOWN)
def test_the_versions_that_have_a_defect(seen: dict[tuple[str, str], tuple[Seen, ...]], defect: str) -> None:
    scenario, versions = KNOWN[defect]
    assert [
        v for v in VERSIONS if any(one.defect and one.defect.name == defect for one in seen[v, scenario])
    ] == versions


def test_every_finding_is_explained(seen: dict[tuple[str, str], tuple[Seen, ...]]) -> None:
    assert [one for found in seen.values() for one in found if one.defect is None] == []


@pytest.mark.parametrize("scenario", [name for name, each in SCENARIOS.items() if not each.why])
@pytest.mark.parametrize("version", ["v0", "v12", "m13"])
def test_threads_of_a_scenario_share_nothing_that_the_explorer_does_not_see(
    version: str, scenario: str
) -> None:
    """`findings` trusts in that; here it raises NotAStep."""
    known = SCENARIOS[scenario]
    assert explore(known.on(VERSIONS[version]), sections=known.sections).complete


@pytest.mark.parametrize("scenario", ["attach-detach", "attach-detach-first-level"])
@pytest.mark.parametrize("version", ["v10", "m9"])
def test_where_the_assertion_fails_the_thread_ends_as_in_linux_and_one_order_is_all(
    version: str, scenario: str
) -> None:
    """These two versions assert a lock that their callers do not take any more."""
    (seen,) = look(version, scenario)
    assert (seen.defect and seen.defect.name, seen.times, seen.executions, seen.complete) == (
        "assert-unlocked",
        1,
        1,
        True,
    )


def test_these_scenarios_are_explored_completely(seen: dict[tuple[str, str], tuple[Seen, ...]]) -> None:
    assert all(one.complete for found in seen.values() for one in found)


@pytest.mark.parametrize(
    ("version", "scenario", "kind", "where", "functions"),
    [
        ("v1", "dump-free", "use-after-free", "page table", "pgtable_walk_level"),
        ("v4", "fault-bus", "deadlock", "&k->k_lock", "add"),
        ("m11", "unmap-irq", "deadlock", "&domain->lock", "iommu_flush_dev_iotlb"),
        ("m11", "unmap-irq", "inconsistent lock state", "&domain->lock", "iommu_flush_dev_iotlb"),
        ("v12", "unmap-irq", "sleeping function", "hardirq context", "iommu_flush_dev_iotlb"),
        ("v11", "publish", "data-race", "device_domain_info.domain", "domain_add_dev_info"),
    ],
)
def test_a_finding_names_its_object_and_functions_and_replays(
    seen: dict[tuple[str, str], tuple[Seen, ...]],
    version: str,
    scenario: str,
    kind: str,
    where: str,
    functions: str,
) -> None:
    one = next(one for one in seen[version, scenario] if kind in one.kind and one.where == where)
    assert functions in one.functions
    assert one.contexts
    build = SCENARIOS[scenario].on(VERSIONS[version])
    told = [
        each
        for each in replay(build, one.schedule, shared=one.shared).outcome.findings
        if isinstance(each, Finding)
    ]
    again = next(each for each in told if (each.kind, place(each.where)) == (one.kind, one.where))
    assert set(again.functions) == set(one.functions)


def test_the_real_deadlock_of_order_inversion_needs_a_lock_that_both_domains_share() -> None:
    kinds = {
        v: {one.kind for one in look(v, "enforce-attach", limit=60)}
        for v in ("v0", "v10", "v11", "m10", "m11", "m13")
    }
    circular = "WARNING: possible circular locking dependency detected"
    assert {v for v, kind in kinds.items() if circular in kind} == {"v11", "m10", "m11", "m13"}
    assert {v for v, kind in kinds.items() if "deadlock" in kind} == {"v11", "m10"}


def test_the_hardware_reads_a_freed_table_in_the_first_and_in_the_last_version() -> None:
    for version in ("v0", "m13"):
        found = look(version, "superpage-dma", limit=60)
        assert "superpage-free" in {one.defect.name for one in found if one.defect}


def test_with_first_level_tables_the_inversion_comes_with_07_and_stays() -> None:
    names = {
        v: {one.defect and one.defect.name for one in look(v, "enforce-irq")}
        for v in ("v6", "v7", "v11", "m4", "m5", "m13")
    }
    having = [version for version, found in names.items() if "irq-inversion" in found]
    assert having == ["v7", "v11", "m5", "m13"]


def test_a_failed_attach_corrupts_a_list_until_the_merged_10_and_is_a_null_pointer_from_then_on() -> None:
    """§1.1: db75c9573b08 sets info->domain to NULL."""
    names = {v: {one.defect and one.defect.name for one in look(v, "no-memory")} for v in VERSIONS}
    assert [v for v, found in names.items() if "failed-attach" in found] == V1 + MAINLINE[:9]
    assert [v for v, found in names.items() if "release-unattached" in found] == MAINLINE[9:]


@pytest.mark.parametrize("version", ["v11", "m11", "m13"])
def test_behind_a_unit_with_both_kinds_of_tables_there_is_no_circle_and_no_inversion(version: str) -> None:
    """§1.3: 5.19 to 6.1 give the domains that users manage second-level tables there."""
    for scenario in ("enforce-attach-both-levels", "enforce-irq-both-levels"):
        names = {one.defect and one.defect.name for one in look(version, scenario)}
        assert not names & {"order-inversion", "irq-inversion", None}


def test_in_scalable_mode_every_version_takes_address_0_for_a_directory() -> None:
    """§1.5."""
    for version in ("v0", "m0", "m13"):
        names = {one.defect and one.defect.name for one in look(version, "fault-unattached-scalable")}
        assert "dump-absent" in names


def test_what_the_hardware_reads_is_no_find_of_kasan() -> None:
    """§1.16."""
    found = [one for one in look("m13", "superpage-dma", limit=60) if one.defect and one.defect.real]
    assert {one.kind for one in found} == {"IOMMU: use-after-free"}


def test_the_window_around_ats_is_judged_alike_for_the_first_device_and_the_next() -> None:
    """§1.13."""
    alike = {
        defect.name: defect.real for defect in DEFECTS if defect.name in ("ats-unlocked", "race-has-iotlb")
    }
    assert alike == {"ats-unlocked": True, "race-has-iotlb": True}


def test_the_fix_of_2024_ends_the_release_of_what_was_never_attached() -> None:
    """§1.2: 81e921fd3216."""
    for scenario in ("release-unattached", "id-exhaustion"):
        found = explore(SCENARIOS[scenario].on(mainline.RELEASED), limit=40)
        assert [str(one.finding) for one in found.findings if "NULL pointer" in str(one.finding)] == []
    # what does get attached is still detached when it goes
    found = explore(SCENARIOS["probe-remove"].on(mainline.RELEASED), limit=40)
    assert {
        explain(one.finding.kind, place(one.finding.where), "probe-remove").real for one in found.findings
    } <= {False}


def test_versions_have_other_names() -> None:
    assert (number("6.0-rc1"), number("6.0-rc5"), number("v3")) == ("m11", "m13", "v3")
    with pytest.raises(KeyError, match="there is no version '7'; there are v0, v1"):
        number("7")


def test_the_command_prints_a_table_or_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["findings", "v0", "6.0-rc1", "--scenario", "unmap-irq", "--jobs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["v0", "m11"]
    assert [line.split() for line in lines[1:3]] == [
        ["domain-lock-irq", ".", "#"],
        ["(race-max-addr)", "#", "#"],
    ]
    assert main(["findings", "m11", "--scenario", "unmap-irq", "--json", "--jobs", "1"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {one["version"] for one in data} == {"m11"}
    assert {"kind", "where", "functions", "contexts", "schedule"} <= data[0].keys()


@pytest.mark.parametrize("arguments", [["v99"], ["--limit", "0"]])
def test_bad_arguments_are_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["findings", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("vtdkit findings: ")
    assert error.count("\n") == 1


def test_each_defect_has_a_name_of_its_own_and_every_scenario_a_sentence() -> None:
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS)
    assert all(scenario.about for scenario in SCENARIOS.values())
