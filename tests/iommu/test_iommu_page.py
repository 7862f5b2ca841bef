"""The page about the room tells the truth: every module is on it, and what its example prints
is what comes out.
"""

from __future__ import annotations

import re
from pathlib import Path

from vtdkit.lab.computer import Computer

ROOM = Path(__file__).parent.parent.parent / "vtdkit" / "iommu"
PAGE = (ROOM / "README.md").read_text(encoding="utf-8")


def test_every_module_is_on_the_map() -> None:
    modules = {path.name for path in ROOM.rglob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"`(\w+\.py)`", PAGE)) == modules


def test_the_functions_and_locks_it_names_are_there() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in ROOM.rglob("*.py"))
    names = {name.lstrip("_") for name in re.findall(r"`(_*[a-z]\w+_\w+)`", PAGE)} - {
        "container_of",
        "intel_iommu_ops",
    }
    assert len(names) > 15
    assert [name for name in sorted(names) if not re.search(rf"\b_*{name}\b", source)] == []


def test_the_example_prints_what_it_says() -> None:
    pc = Computer(devices={"00:03.0": {"ats": True}})
    domain = pc.domain_of("00:03.0")
    pc.map(domain, 0x10000, 0x5000000)
    assert f"```\n{pc.dma('00:03.0', 0x10123)!r}\n```" in PAGE
    for line in ('pc = Computer(devices={"00:03.0": {"ats": True}})', "pc.map(domain, 0x10000, 0x5000000)"):
        assert line in PAGE


def test_the_figures_it_gives_are_those_of_the_code() -> None:
    from vtdkit.iommu.intel.dmar import HANGS

    assert f"given up after {HANGS:,} looks" in PAGE
