"""The page-table explorer: type or drag a DMA address and see which entries the hardware looks at,
and what it answers.

    PageTableExplorer(image, "00:03.0", iova=0xbf73e000)
    before = PageTableExplorer(computer, "00:03.0")
    ...
    PageTableExplorer(computer, "00:03.0", beside=before)

The record holds every table of one device, so the browser walks by itself for any address, with the checks of
`vtdkit.vtd`. Strips show the 512 entries of each table with the one in use lit; below them stand the answer
(or the fault, and why), what the IOTLB still says of the page, and the bits of the chosen entry by name.

Arrow keys left and right move the address by one entry of the chosen table, up and down choose the table;
with Shift they jump to the mapped range before and after.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import traitlets

from vtdkit.iommu.hardware import RemappingHardware
from vtdkit.lab.computer import Computer
from vtdkit.views.shared.base import Address, Widget
from vtdkit.views.shared.bundle import module, style
from vtdkit.views.shared.record import Record
from vtdkit.views.shared.sheet import Picture
from vtdkit.vtd.image.image import Image
from vtdkit.vtd.image.stale import Mapped, stale_translations
from vtdkit.vtd.image.survey import Attached, Survey
from vtdkit.vtd.requests import Request, bdf, sid
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk.space import Leaf
from vtdkit.vtd.walk.trace import Walk

from .record import page_table_record
from .snapshot import twin
from .still import Shown, answer_text, page_table_still
from .words import PASID_WORD, WORDS

Source = RemappingUnit | Image | RemappingHardware | Computer
_IOTLB = 4096
"""Entries of the IOTLB of an image, so that all QEMU's caches held fit in."""


@dataclass(frozen=True, slots=True)
class Side:
    """A unit as it stood, one device of it, and the record the browser gets."""

    name: str
    unit: RemappingUnit
    sid: int
    pasid: int | None
    record: Record

    def request(self, address: int, kind: Any) -> Request:
        """The DMA that is shown: 4 bytes, or as many as are left in the page."""
        return Request(self.sid, address, kind, pasid=self.pasid, length=min(4, 4096 - (address & 0xFFF)))


class PageTableExplorer(Widget):
    """One device's page tables, explored by address.

    - `what`: a `RemappingUnit`, an `Image` of a real machine, a `Computer` or one of its `hardware`
    - `source`: the device, "00:03.0" or a number; without it, the first one that maps something
    - `pasid`: of the requests, if they carry one; `iova`: the address to begin with, without it
      the first mapped one
    - `beside`: another explorer, made earlier, to be shown to the left with the same cursor; `names`
      are the two headings
    - `personality`: for an image, "specification" or "qemu"

    Looking changes nothing, and what happens to the unit later does not show. Position: `iova` (kept as hex
    text), `kind` ("read" or "write"), `row` (the chosen table, -1: the last one reached). Raises ValueError
    when there is no such device.
    """

    _esm = module("pagetables/pagetables.js")
    _css = style("pagetables/pagetables.css")
    iova = Address().tag(sync=True)
    kind = traitlets.Enum(("read", "write"), "read").tag(sync=True)
    row = traitlets.Int(-1).tag(sync=True)

    def __init__(
        self,
        what: Source,
        source: str | int | None = None,
        *,
        pasid: int | None = None,
        iova: int | str | None = None,
        kind: str = "read",
        beside: PageTableExplorer | None = None,
        names: tuple[str, str] = ("before", "after"),
        personality: str = "specification",
    ) -> None:
        side = _side(names[1] if beside else "", what, source, pasid, iova, personality)
        self._sides: tuple[Side, ...] = (_named(beside._sides[-1], names[0]), side) if beside else (side,)
        words = WORDS if pasid is None and side.unit.mode == 0 else (*WORDS, PASID_WORD)
        record = {"title": _title(side), "sides": [each.record for each in self._sides], "words": words}
        place = iova if iova is not None else beside.iova if beside else _first(side)
        super().__init__(record, iova=place, kind=kind)

    @property
    def walks(self) -> tuple[Walk, ...]:
        """What the tables say at the present position, for each side: every step of the hardware's walk."""
        return tuple(side.unit.walk(self._request(side)) for side in self._sides)

    @property
    def walk(self) -> Walk:
        """The walk of the last side."""
        return self.walks[-1]

    def _request(self, side: Side) -> Request:
        return side.request(int(self.iova, 16), self.kind)

    def summary(self) -> str:
        return "; ".join(
            f"{side.name}: {text}" if side.name else text
            for side, walk in zip(self._sides, self.walks, strict=True)
            for text in [answer_text(walk.answer)]
        )

    def still(self) -> Picture:
        shown = [self._shown(side) for side in self._sides]
        return page_table_still(self.record["title"], self.summary(), shown)

    def _shown(self, side: Side) -> Shown:
        request = self._request(side)
        device = side.unit.walk(request, cached=True).answer
        return Shown(side.name, side.unit.walk(request), device, side.record)


def _side(
    name: str,
    what: Source,
    source: str | int | None,
    pasid: int | None,
    iova: int | str | None,
    personality: str,
) -> Side:
    unit = _unit(what, source, personality)
    still = twin(unit)
    device = _device(still, source)
    if isinstance(what, Image):
        _remember(still, what, device)
    near = int(iova, 16) if isinstance(iova, str) else iova or 0
    driver = what.drivers.get(device, "") if isinstance(what, Image) else ""
    record = page_table_record(still, device, pasid, near=near, driver="" if driver == "none" else driver)
    return Side(name, still, device, pasid, {**record, "name": name})


def _named(side: Side, name: str) -> Side:
    return Side(name, side.unit, side.sid, side.pasid, {**side.record, "name": name})


def _unit(what: Source, source: str | int | None, personality: str) -> RemappingUnit:
    if isinstance(what, RemappingUnit):
        return what
    if isinstance(what, Image):
        return what.unit_as(personality, iotlb_entries=_IOTLB)
    if isinstance(what, RemappingHardware):
        return what.unit
    if isinstance(what, Computer):
        return what.hardware_of(source).unit if isinstance(source, str) else what.hardware[0].unit
    raise TypeError(
        f"cannot explore a {type(what).__name__}; give a RemappingUnit, an Image, a Computer or its hardware"
    )


def _device(unit: RemappingUnit, source: str | int | None) -> int:
    """The source id that is meant."""
    if isinstance(source, str):
        return sid(source)
    if source is not None:
        return source
    survey, found = Survey(unit), None
    for found in survey.attached():
        if found.space and found.space.path != "PT" and survey.pages(found.space):
            return found.sid
    if not isinstance(found, Attached):
        raise ValueError('no device is attached to this unit; name one: source="00:03.0"')
    return found.sid


def _remember(unit: RemappingUnit, image: Image, device: int) -> None:
    """Put into the unit's IOTLB what the machine's still held although its tables no longer said so."""
    space, _ = Survey(unit).space(device)
    if space is None or unit.caches is None or not (image.folder / "oracle.json.gz").exists():
        return
    for entry in _stale(image, device):
        unit.caches.iotlb.keep(device, None, entry.iova, space, _leaf(entry))


def _stale(image: Image, device: int) -> Iterable[Mapped]:
    return (entry for entry in stale_translations(image) if entry.sid == device)


def _leaf(entry: Mapped) -> Leaf:
    shift = entry.size.bit_length() - 1
    base = entry.address & -entry.size
    return Leaf(base, shift, entry.entry, entry.level, second=entry.permissions)


def _first(side: Side) -> str:
    ranges = side.record["ranges"]
    return str(ranges[0][0]) if ranges else "0x0"


def _title(side: Side) -> str:
    record = side.record
    who = f"{bdf(side.sid)} ({record['driver']})" if record["driver"] else bdf(side.sid)
    if side.pasid is not None:
        who += f", PASID {side.pasid}"
    space = record["now"]["space"]
    if space is None:
        return f"{who}: remapping is off" if record["mode"] == "off" else f"{who}: no page tables"
    if space["path"] == "PT":
        return f"{who}: pass-through, domain {space['did']}"
    stages = {
        "SS": f"{space['second_levels']} levels",
        "FS": f"first-stage tables of {space['first_levels']} levels",
    }
    kind = stages.get(space["path"], f"{space['first_levels']} levels inside {space['second_levels']} levels")
    return f"{who}: page tables of {kind}, domain {space['did']}".replace(
        "page tables of first-stage tables", "first-stage tables"
    )
