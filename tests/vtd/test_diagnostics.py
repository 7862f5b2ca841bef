"""Notes about software that breaks rules. They never change an answer."""

from __future__ import annotations

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Translation
from vtdkit.vtd.unit.diagnostics import RULES

from .rig import RTADDR, RW, SRTP, command, legacy, read, scalable

OTHER = 0x20


def rules(unit: object) -> list[str]:
    return [note.rule for note in unit.notes]  # type: ignore[attr-defined]


def test_a_stale_answer_is_noted_with_what_memory_says() -> None:
    tables, root = legacy()
    leaf = tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit()
    unit.diagnose = True
    unit.translate(read(0x1000))
    unit.translate(read(0x1000))
    assert unit.notes == []
    tables.memory[leaf] = 0x30_0000 | RW
    answer = unit.translate(read(0x1000))
    assert isinstance(answer, Translation)
    assert answer.address == 0x20_0000
    (note,) = unit.notes
    assert note.rule == "stale answer"
    assert "0x1000 -> 0x200000" in note.seen
    assert "memory says <Translation 00:03.0 0x1000 -> 0x300000" in note.seen
    assert RULES["stale answer"] in repr(note)


def test_reusing_a_domain_id_is_noted_unless_the_domain_was_invalidated() -> None:
    for flush in (False, True):
        tables, root = legacy(did=5)
        other = tables.context(OTHER, did=5)
        for table in (root, other):
            tables.map(table, 0x1000, 0x20_0000)
        unit = tables.unit()
        unit.diagnose = True
        unit.translate(read(0x1000))
        if flush:
            unit.write(0xF8, 1 << 63 | 2 << 60 | 5 << 32, 8)
        unit.translate(read(0x1000, OTHER))
        assert rules(unit) == ([] if flush else ["DID reuse"])


def test_two_devices_may_share_a_domain() -> None:
    tables, root = legacy(did=5)
    tables.context(OTHER, did=5, root=root)
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit()
    unit.diagnose = True
    unit.translate(read(0x1000))
    unit.translate(read(0x1000, OTHER))
    assert unit.notes == []


def test_domain_id_zero_is_noted_with_caching_mode() -> None:
    tables, root = legacy(did=0)
    tables.map(root, 0x1000, 0x20_0000)
    unit = tables.unit(Capabilities(HAW=46, CM=1))
    unit.diagnose = True
    unit.translate(read(0x1000))
    assert rules(unit) == ["DID 0 with caching mode"]


def test_changing_the_mode_under_way_is_noted() -> None:
    for esrtps, expected in ((0, ["mode changed while on"]), (1, [])):
        tables, *_ = scalable()
        unit = tables.unit(Capabilities.scalable(HAW=46, ESRTPS=esrtps), mode=1)
        unit.diagnose = True
        unit.write(RTADDR, tables.root, 8)
        command(unit, SRTP)
        assert rules(unit) == expected


def test_watching_changes_no_answer() -> None:
    tables, root = legacy()
    for page in range(4):
        tables.map(root, page << 12, 0x20_0000 + (page << 12))
    watched, plain = tables.unit(), tables.unit()
    watched.diagnose = True
    for page in (0, 1, 0, 5, 2, 0):
        assert watched.translate(read(page << 12)) == plain.translate(read(page << 12))
    assert watched.notes == []
    assert not plain.diagnose
