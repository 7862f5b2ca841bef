"""Findings are taken over from a version that does the same: the rule, and rows worked out afresh."""

from __future__ import annotations

from inspect import isfunction
from typing import Any

import pytest

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.lab.computer import Computer
from vtdkit.lab.findings import alike as rule
from vtdkit.lab.findings import looking
from vtdkit.lab.findings.alike import alike, noting, varying
from vtdkit.lab.findings.looking import VERSIONS, Seen, all_findings, look

SCENES = ("publish", "fault-bus", "dump-unmap", "unmap-irq")


class Inherits(IntelIommu):
    """Its method goes on below."""

    def init_locks(self) -> None:
        super().init_locks()


def version(base: type[IntelIommu] = IntelIommu, **own: Any) -> type[IntelIommu]:
    """A version with these attributes of its own."""
    return type("Version", (base,), own)


def started(driver: type[IntelIommu]) -> set[str]:
    """What a computer with this driver looks up until it is up and has a device."""
    noted, used = noting(driver)
    Computer(driver=noted)
    return used


def alone(versions: list[str]) -> tuple[Seen, ...]:
    """The same table, each row worked out for itself."""
    return tuple(seen for each in versions for scene in SCENES for seen in look(each, scene))


def plain(table: tuple[Seen, ...]) -> list[dict[str, Any]]:
    """All of it, locations and text as well."""
    return [{**one.as_json(), "text": one.text} for one in table]


def test_only_what_is_looked_up_counts() -> None:
    used = started(VERSIONS["v4"])
    assert "init_locks" in used
    assert "iommu_disable_dev_iotlb" not in used
    assert alike(version(VERSIONS["v4"], iommu_disable_dev_iotlb=None), VERSIONS["v4"], used)
    assert not alike(version(VERSIONS["v4"], init_locks=None), VERSIONS["v4"], used)


def test_what_is_asked_for_and_is_not_there_counts_as_well() -> None:
    name = next(name for name in varying() if not hasattr(IntelIommu, name))
    noted, used = noting(IntelIommu)
    assert not hasattr(noted, name)
    assert used == {name}
    assert not alike(version(**{name: None}), IntelIommu, used)


def test_a_method_that_was_removed_says_so_still_and_is_noted() -> None:
    noted, used = noting(VERSIONS["v10"])
    with pytest.raises(AttributeError, match="it is gone, patch 10"):
        _ = Computer(driver=noted).driver._dmar_remove_one_dev_info  # type: ignore[attr-defined]
    assert {"_dmar_remove_one_dev_info", "title"} <= used


def test_what_super_reaches_counts() -> None:
    method = vars(Inherits)["init_locks"]
    on_other = version(version(init_locks=None), init_locks=method)
    assert not alike(on_other, Inherits, ["init_locks"])
    assert alike(version(init_locks=method), Inherits, ["init_locks"])


def test_a_version_is_a_link_in_a_chain_and_has_no_special_methods() -> None:
    for driver in VERSIONS.values():
        for cls in driver.__mro__[: -len(IntelIommu.__mro__)]:
            assert len(cls.__bases__) == 1
            assert not [n for n, what in vars(cls).items() if n.startswith("__") and isfunction(what)]


def test_rows_taken_over_are_those_worked_out_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(looking, "noting", lambda driver: ran.append(driver.title) or noting(driver))  # type: ignore[func-returns-value]
    versions = ["v0", "v1", "v3", "v4", "v8", "v9", "v10", "m2", "m12", "m13"]
    table = all_findings(versions, SCENES)
    assert len(ran) < len(versions) * len(SCENES)
    assert sorted(map(repr, plain(table))) == sorted(map(repr, plain(alone(versions))))
    assert [one.version for one in table] == [one.version for one in alone(versions)]


@pytest.mark.parametrize(
    ("before", "after", "scene", "forgotten"),
    [
        ("v9", "v10", "dump-free", {"dmar_remove_one_dev_info", "_dmar_remove_one_dev_info"}),
        ("m12", "m13", "fault-bus", {"pgtable_walk", "dmar_fault_dump_ptes"}),
    ],
)
def test_a_rule_that_forgets_a_name_gives_another_table(
    monkeypatch: pytest.MonkeyPatch, before: str, after: str, scene: str, forgotten: set[str]
) -> None:
    afresh = [one.defect for version in (before, after) for one in look(version, scene)]
    assert [one.defect for one in all_findings((before, after), (scene,))] == afresh
    monkeypatch.setattr(rule, "varying", lambda: tuple(set(varying()) - forgotten))
    assert [one.defect for one in all_findings((before, after), (scene,))] != afresh
