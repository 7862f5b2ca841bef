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
with Shift they jump to the mapped range before and after. The record also has the unit's other devices and
their PASIDs, as far as there is room, to be chosen in the browser.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import traitlets

from vtdkit.iommu.hardware import RemappingHardware
from vtdkit.lab.computer import Computer
from vtdkit.views.shared.record import Record
from vtdkit.views.shared.sheet import Picture
from vtdkit.vtd.image.image import BadImage, Image
from vtdkit.vtd.image.stale import stale_translations
from vtdkit.vtd.image.survey import Attached, Survey
from vtdkit.vtd.requests import Request, bdf, sid
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk.space import Leaf
from vtdkit.vtd.walk.trace import Walk

from .explorer import Explorer
from .pages import MOST
from .record import page_table_record
from .snapshot import twin
from .still import Shown, answer_text, page_table_still
from .words import PASID_WORD, WORDS

Source = RemappingUnit | Image | RemappingHardware | Computer
_IOTLB = 4096
"""Entries of the IOTLB of an image, so that all QEMU's caches held fit in."""
MOST_DEVICES = 64
"""In one record."""


@dataclass(frozen=True, slots=True)
class Side:
    """A unit as it stood, one device of it, and the record the browser gets."""

    unit: RemappingUnit
    sid: int
    pasid: int | None
    record: Record

    @property
    def device(self) -> str:
        """What it is called in the list of devices."""
        driver, pasid = self.record["driver"], f"PASID {self.pasid}" if self.pasid is not None else ""
        return " ".join(filter(None, (bdf(self.sid), driver, pasid)))


class PageTableExplorer(Explorer):
    """One device's page tables, explored by address.

    - `what`: a `RemappingUnit`, an `Image` of a real machine, a `Computer` or one of its `hardware`
    - `source`: the device, "00:03.0" or a number; without it, the first one that maps something
    - `pasid`: of the requests, if they carry one; `iova`: the address to begin with, without it
      the first mapped one
    - `beside`: another explorer, made earlier, to be shown to the left with the same cursor; `names`
      are the two headings

    Looking changes nothing, and what happens to the unit later does not show. Position: `iova` (kept as hex
    text), `kind` ("read" or "write"), `row` (the chosen table, -1: the last one reached), `device` (one of
    those in the record). Raises ValueError when there is no such device.
    """

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
    ) -> None:
        near = int(iova, 16) if isinstance(iova, str) else iova or 0
        lead, *others = _sides(what, source, pasid, near)
        self._names = names if beside else ("",)
        pairs: list[tuple[Side, ...]] = [(each,) for each in (lead, *others)]
        if beside:
            known = beside._choices
            pairs = [(known[each.device][-1], each) for each in others if each.device in known]
            pairs = [(beside._sides[-1], lead), *pairs]
        self._choices: Mapping[str, tuple[Side, ...]] = {sides[-1].device: sides for sides in pairs}
        words = WORDS if pasid is None and lead.unit.mode == 0 else (*WORDS, PASID_WORD)
        first = [each.record for each in pairs[0]]
        mapped = [low for low, *_ in lead.record["ranges"][:1]]
        super().__init__(
            _title(lead),
            lead.device,
            first,
            words=words,
            names=self._names,
            more=[
                {
                    "device": name,
                    "title": _title(sides[-1]),
                    # what it has otherwise than the first device: most of it is the same
                    "sides": [
                        {key: value for key, value in side.record.items() if value != lead_record[key]}
                        for side, lead_record in zip(sides, first, strict=True)
                    ],
                }
                for name, sides in list(self._choices.items())[1:]
            ],
            iova=iova if iova is not None else beside.iova if beside else [*mapped, 0][0],
            kind=kind,
        )

    @traitlets.validate("device")
    def _known(self, proposal: Mapping[str, Any]) -> str:
        if proposal["value"] not in self._choices:
            raise traitlets.TraitError(
                f"no device {proposal['value']!r:.80}; there are {', '.join(self._choices)}"
            )
        return str(proposal["value"])

    @property
    def _sides(self) -> tuple[Side, ...]:
        return self._choices[self.device]

    def _request(self, side: Side) -> Request:
        """The DMA that is shown: 4 bytes, or as many as are left in the page."""
        address, length = int(self.iova, 16), min(4, 4096 - (int(self.iova, 16) & 0xFFF))
        return Request(side.sid, address, self.kind, pasid=side.pasid, length=length)

    @property
    def walks(self) -> tuple[Walk, ...]:
        """What the tables say at the present position, for each side: every step of the hardware's walk."""
        return tuple(side.unit.walk(self._request(side)) for side in self._sides)

    def summary(self) -> str:
        texts = zip(self._names, (answer_text(walk.answer) for walk in self.walks), strict=True)
        return "; ".join(f"{name}: {text}" if name else text for name, text in texts)

    def still(self) -> Picture:
        return page_table_still(
            _title(self._sides[-1]),
            self.summary(),
            [
                Shown(name, walk, side.unit.walk(self._request(side), cached=True).answer, side.record)
                for name, side, walk in zip(self._names, self._sides, self.walks, strict=True)
            ],
        )


def _sides(what: Source, source: str | int | None, pasid: int | None, near: int) -> list[Side]:
    """The device that is meant, and others as far as their tables fit into the record."""
    still, made, lines = twin(_unit(what, source)), list[Side](), 0
    drivers = what.drivers if isinstance(what, Image) else {}
    if isinstance(what, Image):
        _remember(still, what)
    for device, number in _devices(still, source, pasid):
        driver = drivers.get(device, "").removeprefix("none")
        record = page_table_record(still, device, number, near=near, most=MOST - lines, driver=driver)
        if made and record["left_out"]:
            break
        lines += sum(len(page["runs"]) for page in record["pages"].values())
        made.append(Side(still, device, number, record))
    return made


def _unit(what: Source, source: str | int | None) -> RemappingUnit:
    if isinstance(what, Image):
        return what.unit_as(iotlb_entries=_IOTLB)
    if isinstance(what, Computer):
        what = what.hardware_of(source) if isinstance(source, str) else what.hardware[0]
    unit = what.unit if isinstance(what, RemappingHardware) else what
    if not isinstance(unit, RemappingUnit):
        raise TypeError(
            f"cannot explore a {type(what).__name__}; give a RemappingUnit, an Image, a Computer or its "
            "hardware"
        )
    return unit


def _devices(
    unit: RemappingUnit, source: str | int | None, pasid: int | None
) -> list[tuple[int, int | None]]:
    """Source ids and PASIDs, the one that is meant first: without `source`, one that maps something."""
    survey = Survey(unit)
    found: list[Attached] = []
    with suppress(BadImage):  # tables that loop: what is asked for can be shown all the same
        found = list(islice(survey.attached(), 4 * MOST_DEVICES))
    if source is None and not found:
        raise ValueError('no device is attached to this unit; name one: source="00:03.0"')
    if source is None:
        maps = (each for each in found if each.space and each.space.path != "PT" and survey.pages(each.space))
        source = next(maps, found[-1]).sid
    first = (sid(source) if isinstance(source, str) else source, pasid)
    every = [(each.sid, number) for each in found for number in dict.fromkeys((None, each.pasid or None))]
    return list(dict.fromkeys([first, *every]))[:MOST_DEVICES]


def _remember(unit: RemappingUnit, image: Image) -> None:
    """Put into the unit's IOTLB what the machine's still held although its tables no longer said so."""
    if unit.caches is not None and (image.folder / "oracle.json.gz").exists():
        for entry in stale_translations(image):
            if space := Survey(unit).space(entry.sid)[0]:
                shift, base = entry.size.bit_length() - 1, entry.address & -entry.size
                leaf = Leaf(base, shift, entry.entry, entry.level, second=entry.permissions)
                unit.caches.iotlb.keep(entry.sid, None, entry.iova, space, leaf)


def _title(side: Side) -> str:
    record, space = side.record, side.record["now"]["space"]
    who = f"{bdf(side.sid)} ({record['driver']})" if record["driver"] else bdf(side.sid)
    who += f", PASID {side.pasid}" if side.pasid is not None else ""
    if space is None:
        return f"{who}: {'remapping is off' if record['mode'] == 'off' else 'no page tables'}"
    first, second = space["first_levels"], space["second_levels"]
    kinds = {
        "PT": "pass-through",
        "SS": f"page tables of {second} levels",
        "FS": f"first-stage tables of {first} levels",
        "NEST": f"page tables of {first} levels inside {second} levels",
    }
    return f"{who}: {kinds[space['path']]}, domain {space['did']}"
