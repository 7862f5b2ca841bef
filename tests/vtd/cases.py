"""One scenario for every condition of the fault tables: tables that are right but for one thing.

`CASES[label]()` returns the unit and the request that trips over it.
Scenarios use only the builders of `rig`; nothing here knows how the model finds the condition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Request
from vtdkit.vtd.unit.unit import RemappingUnit

from .rig import (
    GCMD,
    IRTA,
    RW,
    SCALABLE,
    SID,
    SIRTP,
    R,
    Tables,
    W,
    bring_up,
    command,
    legacy,
    read,
    scalable,
    write,
)

FS = 0x67  # P, RW, US, A, D


@dataclass
class Case:
    """A unit and a request. `again` asks the same of another address type, where that makes sense."""

    unit: RemappingUnit
    request: Request
    tables: Tables
    extra: dict[str, Any] = field(default_factory=dict)


CASES: dict[str, Callable[[], Case]] = {}


def case(label: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    def keep(build: Callable[[], Case]) -> Callable[[], Case]:
        assert label not in CASES
        CASES[label] = build
        return build

    return keep


# the root-table register


def _mode(mode: int, caps: Capabilities, request: Request | None = None) -> Case:
    tables = Tables()
    return Case(tables.unit(caps, mode=mode), request or read(0x1000), tables)


case("RTA.1.1")(lambda: _mode(3, Capabilities(HAW=46)))
case("RTA.1.2")(lambda: _mode(2, SCALABLE))
case("RTA.1.3")(lambda: _mode(1, Capabilities(HAW=46)))
case("RTA.2")(lambda: _mode(0, SCALABLE, read(0x1000, pasid=3)))
case("RTA.4")(lambda: _mode(3, SCALABLE))
case("RTA.5")(lambda: _mode(1, Capabilities.scalable(HAW=46, major=8), read(0x1000, pasid=3, execute=True)))


@case("RTA.1.4")
def _() -> Case:
    tables = Tables()
    unit = RemappingUnit(tables.memory, Capabilities(HAW=46, SSIRWS=1))
    bring_up(unit, tables.root | 1 << 7)
    return Case(unit, read(0x1000), tables)


# legacy mode


def _legacy(change: Callable[[Tables, int, int], Request | None]) -> Case:
    tables, root = legacy()
    leaf = tables.map(root, 0x1000, 0x20_0000)
    request = change(tables, root, leaf) or read(0x1000)
    return Case(tables.unit(), request, tables)


def _poke(address: int, value: int, *, flip: bool = False) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        tables.memory[address] = tables.memory[address] ^ value if flip else value

    return change


@case("LRT.1")
def _() -> Case:
    return _legacy(lambda t, root, leaf: t.memory.fail(t.root, t.root + 4096))


@case("LRT.2")
def _() -> Case:
    return _legacy(lambda t, root, leaf: read(0x1000, 0x4000))


@case("LRT.3")
def _() -> Case:
    return _legacy(lambda t, root, leaf: _poke(t.root + 8, 1)(t))


@case("LCT.1")
def _() -> Case:
    return _legacy(lambda t, root, leaf: t.memory.fail(t.context_at(), t.context_at() + 16))


@case("LCT.2")
def _() -> Case:
    return _legacy(lambda t, root, leaf: _poke(t.context_at(), 1, flip=True)(t))


@case("LCT.3")
def _() -> Case:
    return _legacy(lambda t, root, leaf: _poke(t.context_at(), 1 << 4, flip=True)(t))


@case("LCT.4.1")
def _() -> Case:
    return _legacy(lambda t, root, leaf: _poke(t.context_at() + 8, 5 << 8 | 3)(t))


@case("LCT.4.2")
def _() -> Case:
    return _legacy(lambda t, root, leaf: _poke(t.context_at(), 3 << 2, flip=True)(t))


@case("LCT.4.3")
def _() -> Case:
    return _legacy(lambda t, root, leaf: t.memory.fail(root, root + 4096))


@case("LCT.5")
def _() -> Case:
    return _legacy(lambda t, root, leaf: read(0x1000, at="translation"))


@case("LGN.1.1")
def _() -> Case:
    return _legacy(lambda t, root, leaf: read(1 << 48))


def _typed(t: Tables, tt: int, request: Request) -> Request:
    _poke(t.context_at(), tt << 2, flip=True)(t)
    return request


@case("LGN.1.2")
def _() -> Case:
    return _legacy(lambda t, root, leaf: _typed(t, 1, read(1 << 46, at="translated")))


@case("LGN.1.3")
def _() -> Case:
    return _legacy(lambda t, root, leaf: _typed(t, 2, read(1 << 46)))


@case("LGN.2")
def _() -> Case:
    def change(t: Tables, root: int, leaf: int) -> Request:
        t.memory[leaf] = 0x20_0000 | R
        return write(0x1000)

    return _legacy(change)


@case("LGN.3")
def _() -> Case:
    return _legacy(lambda t, root, leaf: _poke(leaf, 0x20_0000 | W)(t))


@case("LGN.4")
def _() -> Case:
    return _legacy(lambda t, root, leaf: _poke(leaf, 0xFEE0_0000 | RW)(t))


@case("LSS.1")
def _() -> Case:
    return _legacy(lambda t, root, leaf: t.memory.fail(leaf, leaf + 8))


@case("LSS.2")
def _() -> Case:
    return _legacy(lambda t, root, leaf: _poke(leaf, 1 << 62, flip=True)(t))


# scalable mode: tables


def _scalable(
    change: Callable[[Tables, int, int, int], Request | None] = lambda *_: None,
    path: str = "SS",
    caps: Capabilities = SCALABLE,
    **more: int,
) -> Case:
    tables, directory, entry, root = scalable(path, caps, **more)
    leaf = tables.map(
        root, 0x1000, 0x20_0000, bits=RW if path == "SS" else FS, middle=RW if path == "SS" else FS
    )
    request = change(tables, directory, entry, leaf) or read(0x1000)
    return Case(tables.unit(caps, mode=1), request, tables)


def _flipped(offset: int, bits: int) -> Callable[..., Case]:
    """A bit of the scalable-mode context entry the other way round."""
    return lambda **more: _scalable(
        lambda t, d, e, leaf: _poke(t.sm_context_at() + offset, bits, flip=True)(t), **more
    )


def _entry(offset: int, bits: int, **more: Any) -> Callable[[], Case]:
    """A bit of the PASID table entry the other way round."""
    return lambda: _scalable(lambda t, d, e, leaf: _poke(e + offset, bits, flip=True)(t), **more)


case("SRT.1")(lambda: _scalable(lambda t, d, e, leaf: t.memory.fail(t.root, t.root + 4096)))
case("SRT.2")(lambda: _scalable(lambda t, d, e, leaf: read(0x1000, 0x80)))
case("SRT.3")(lambda: _scalable(lambda t, d, e, leaf: _poke(t.root, 2, flip=True)(t)))
case("SCT.1")(
    lambda: _scalable(lambda t, d, e, leaf: t.memory.fail(t.sm_context_at(), t.sm_context_at() + 8))
)
case("SCT.2")(_flipped(0, 1))
case("SCT.3")(_flipped(0, 1 << 7))
case("SCT.4.1")(_flipped(0, 1 << 2))
case("SCT.4.2")(_flipped(8, 1 << 19))
case("SCT.5")(
    lambda: _scalable(
        lambda t, d, e, leaf: read(0x1000, at="translation"), caps=Capabilities.scalable(HAW=46), flags=8
    )
)
case("SCT.6")(lambda: _scalable(lambda t, d, e, leaf: read(0x1000, pasid=3), flags=0x14))
case("SCT.7")(lambda: _scalable(lambda t, d, e, leaf: read(0x1000, pasid=1 << 13)))
case("SCT.9")(lambda: _scalable(lambda t, d, e, leaf: read(0x1000, pasid=7)))
PTRS = Capabilities.scalable(HAW=46, PTRS=1, HPTS=1)
case("SCT.4.3")(lambda: _scalable(caps=PTRS, flags=0x54))
case("SCT.10")(lambda: _scalable(lambda t, d, e, leaf: read(0x1000, pasid=3, at="translated"), caps=PTRS))
case("SGN.10")(
    lambda: _scalable(
        lambda t, d, e, leaf: read(0x1000, pasid=1 << 10), caps=Capabilities.scalable(HAW=46, PSS=10)
    )
)
case("SPD.1")(lambda: _scalable(lambda t, d, e, leaf: t.memory.fail(d, d + 8)))
case("SPD.2")(lambda: _scalable(lambda t, d, e, leaf: _poke(d, 1, flip=True)(t)))
case("SPD.3")(lambda: _scalable(lambda t, d, e, leaf: _poke(d, 4, flip=True)(t)))
case("SPT.1")(lambda: _scalable(lambda t, d, e, leaf: t.memory.fail(e, e + 64)))
case("SPT.2")(_entry(0, 1))
case("SPT.3")(_entry(0, 1 << 5))
case("SPT.4.1")(_entry(0, 7 << 2))
case("SPT.4.2")(_entry(0, 7 << 6))
case("SPT.4.3")(_entry(16, 2 << 2, path="FS"))
case("SPT.4.4")(_entry(16, 1 << 45, path="NEST", caps=Capabilities.scalable(HAW=46, MGAW=39)))
case("SPT.5")(lambda: _scalable(lambda t, d, e, leaf: _execute(t, d)))
case("SPT.6")(lambda: _scalable(rid_priv=1))


def _execute(tables: Tables, directory: int) -> Request:
    tables.pasid(directory, 3, w0=1 | 4 << 6, w1=6)
    return read(0x1000, pasid=3, execute=True)


# scalable mode: second stage

case("SGN.5")(lambda: _scalable(lambda t, d, e, leaf: read(1 << 48)))
case("SGN.6")(lambda: _scalable(lambda t, d, e, leaf: _store(t, leaf, 0x20_0000 | R, write(0x1000))))
case("SGN.7")(lambda: _scalable(lambda t, d, e, leaf: _store(t, leaf, 0x20_0000 | W)))
case("SSS.1")(lambda: _scalable(lambda t, d, e, leaf: t.memory.fail(leaf, leaf + 8)))
case("SSS.2")(lambda: _scalable(lambda t, d, e, leaf: _store(t, leaf, 0)))
case("SSS.3")(lambda: _scalable(lambda t, d, e, leaf: _store(t, leaf, 0x20_0000 | RW | 1 << 62)))
case("SSS.4")(
    lambda: _scalable(lambda t, d, e, leaf: t.memory.fail(t.memory[e] & ~0xFFF, (t.memory[e] & ~0xFFF) + 8))
)
case("SSS.5")(lambda: _scalable(lambda t, d, e, leaf: _poke(e + 8, 1 << 23, flip=True)(t), w0=1 << 9))
case("SSS.6")(lambda: _scalable(lambda t, d, e, leaf: t.memory.read_only(leaf, leaf + 8), w0=1 << 9))


def _store(tables: Tables, slot: int, value: int, request: Request | None = None) -> Request | None:
    tables.memory[slot] = value
    return request


# pass-through and what all paths share

case("SGN.4.2")(lambda: _scalable(lambda t, d, e, leaf: read(1 << 46), path="PT"))
case("SGN.4.1")(lambda: _scalable(lambda t, d, e, leaf: read(1 << 46, at="translated")))
case("SGN.8.1")(lambda: _scalable(lambda t, d, e, leaf: _store(t, leaf, 0xFEE0_0000 | RW)))
case("SGN.8.2")(
    lambda: _scalable(lambda t, d, e, leaf: _store(t, leaf, 0xFEE0_0000 | RW, read(0x1000, at="translation")))
)
case("SGN.8.3")(lambda: _scalable(lambda t, d, e, leaf: read(0xFEE0_1000, at="translated")))

# first stage

case("SGN.1")(lambda: _scalable(lambda t, d, e, leaf: read(1 << 47), path="FS"))
case("SGN.2")(lambda: _scalable(lambda t, d, e, leaf: _poke(leaf, 4, flip=True)(t), path="FS"))
case("SFS.1")(lambda: _scalable(lambda t, d, e, leaf: t.memory.fail(leaf, leaf + 8), path="FS"))
case("SFS.2")(lambda: _scalable(lambda t, d, e, leaf: _store(t, leaf, 0), path="FS"))
case("SFS.3")(lambda: _scalable(lambda t, d, e, leaf: _poke(leaf, 1 << 46, flip=True)(t), path="FS"))
case("SFS.4")(
    lambda: _scalable(
        lambda t, d, e, leaf: t.memory.fail(t.memory[e + 16] & ~0xFFF, (t.memory[e + 16] & ~0xFFF) + 8),
        path="FS",
    )
)
case("SFS.9")(
    lambda: _scalable(
        lambda t, d, e, leaf: (_poke(e + 8, 1 << 23, flip=True)(t), _store(t, leaf, 0x20_0007))[1], path="FS"
    )
)
case("SFS.10")(
    lambda: _scalable(
        lambda t, d, e, leaf: (t.memory.read_only(leaf, leaf + 8), _store(t, leaf, 0x20_0007))[1], path="FS"
    )
)


# nested: guest addresses are host addresses plus nothing; the second stage maps them one to one, 4K at a time


def _nested(change: Callable[[Tables, int, int, dict[str, int]], Request | None], **more: Any) -> Case:
    caps = more.pop("caps", SCALABLE)
    tables, _, entry, first = scalable("NEST", caps, **more)
    second = tables.memory[entry] & ~0xFFF
    leaf = tables.map(first, 0x1000, 0x20_0000, bits=FS, middle=FS)
    slots = {"leaf": leaf, "root": first}
    for page in (first, *_below(tables, first), 0x20_0000):
        slots[f"ss {page:#x}"] = tables.map(second, page, page)
    request = change(tables, entry, second, slots) or read(0x1000)
    return Case(tables.unit(caps, mode=1), request, tables, dict(slots))


def _below(tables: Tables, table: int) -> list[int]:
    """The tables on the way to the first page, below the top one."""
    found = []
    for _ in range(3):
        table = tables.memory[table] & 0x000F_FFFF_FFFF_F000
        found.append(table)
    return found


def _second_of(slots: dict[str, int], address: int) -> int:
    return slots[f"ss {address & ~0xFFF:#x}"]


case("SFS.5")(
    lambda: _nested(
        lambda t, e, s, slots: _store(t, slots["root"], 1 << 45 | FS),
        caps=Capabilities.scalable(HAW=46, MGAW=39),
    )
)
case("SFS.6")(
    lambda: _nested(lambda t, e, s, slots: _store(t, _second_of(slots, slots["root"]), slots["root"] | W))
)
case("SFS.7")(
    lambda: _nested(
        lambda t, e, s, slots: _store(t, _second_of(slots, slots["leaf"]), slots["leaf"] & ~0xFFF | W)
    )
)


@case("SFS.8")
def _() -> Case:
    def change(t: Tables, entry: int, second: int, slots: dict[str, int]) -> None:
        t.memory[slots["leaf"]] = 0x20_0007
        t.memory[_second_of(slots, slots["leaf"])] = slots["leaf"] & ~0xFFF | R

    return _nested(change)


# interrupts


def interrupts(
    caps: Capabilities | None = None, *, eime: int = 0, enable: bool = True
) -> tuple[Tables, RemappingUnit, int]:
    """A unit with an interrupt table of 256 entries; returns them and the table's address."""
    tables, _ = legacy()
    unit = tables.unit(caps)
    table = tables.page()
    unit.write(IRTA, table | eime << 11 | 7, 8)
    command(unit, SIRTP)
    if enable:
        command(unit, 1 << 25)
    return tables, unit, table


def msi(index: int = 0, *, data: int = 0, shv: int = 0, sid: int = SID) -> Request:
    address = 0xFEE0_0000 | 1 << 4 | (index & 0x7FFF) << 5 | (index >> 15) << 2 | shv << 3
    return write(address, sid, data=data)


IRTE_LOW, IRTE_HIGH = 1 | 0x31 << 16 | 0x200 << 32, 1 << 18 | SID


def _irte(low: int = IRTE_LOW, high: int = IRTE_HIGH, request: Request | None = None, **more: Any) -> Case:
    tables, unit, table = interrupts(**more)
    tables.memory[table], tables.memory[table + 8] = low, high
    return Case(unit, request or msi(), tables, {"table": table})


case("IR.20")(lambda: _irte(request=msi(data=1 << 16, shv=1)))
case("IR.21")(lambda: _irte(request=msi(256)))
case("IR.22")(lambda: _irte(low=IRTE_LOW & ~1))
case("IR.24")(lambda: _irte(low=IRTE_LOW | 1 << 12))
case("IR.25")(lambda: _irte(request=write(0xFEE0_1000, data=0x31)))
case("IR.26")(lambda: _irte(request=msi(sid=0x20)))
case("IR.29")(lambda: _irte(request=read(0xFEE0_1000)))
case("IR.2A")(lambda: _irte(caps=Capabilities(HAW=46, EIMER=1)))
case("IR.2B")(lambda: _irte(caps=Capabilities(HAW=46, IRREQ=1), enable=False))


@case("IR.23")
def _() -> Case:
    built = _irte()
    built.tables.memory.fail(built.extra["table"], built.extra["table"] + 16)
    return built


# refusals that are not remapping faults


@case("PMR")
def _() -> Case:
    built = _legacy(lambda t, root, leaf: None)
    for offset, value in ((0x68, 0x20_0000), (0x6C, 0x20_0000), (0x64, 1 << 31)):
        built.unit.write(offset, value)
    return built


@case("TES")
def _() -> Case:
    tables = Tables()
    unit = tables.unit()
    unit.write(GCMD, 0)
    return Case(unit, read(0x1000, at="translation"), tables)


case("AT")(lambda: _legacy(lambda t, root, leaf: write(0x1000, at="translation")))
