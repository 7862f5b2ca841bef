"""What a debugger sees of an image: root, context and PASID entries, and what their page tables map.

Laid out like the kernel's debugfs files for this hardware: per device the raw entries, then one line in
words, then the ranges. The output is bounded: `limit` ranges a device, and a count of what was left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vtdkit.vtd.requests import bdf, sid
from vtdkit.vtd.unit.unit import MODES

from .image import BadImage, Image
from .survey import Attached, MappedRange, Survey, describe


@dataclass(frozen=True, slots=True)
class Device:
    """One attached device (and PASID): its entries, its first ranges, and how many pages it maps in all."""

    attached: Attached
    driver: str
    ranges: tuple[MappedRange, ...]
    more: bool
    pages: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything `inspect` prints about one folder."""

    name: str
    mode: str
    root_table: int
    devices: tuple[Device, ...]
    emulated: bool = False  # as QEMU's unit reads the tables, not by the letter

    def text(self) -> str:
        """The printed form."""
        lines = [f"{self.name}: {self.mode} mode, root table {self.root_table:#x}"]
        lines += (line for device in self.devices for line in ("", *_device_lines(device)))
        refused = sum(bool(device.attached.refusal) for device in self.devices)
        if refused and not self.emulated:
            lines += ["", f"refused by the letter: {refused}; --qemu reads the tables as QEMU's unit does"]
        return "\n".join(lines)

    def as_data(self) -> dict[str, Any]:
        """The same as plain data, for `--json`; addresses and entries as hex text."""
        return {
            "name": self.name,
            "mode": self.mode,
            "root_table": hex(self.root_table),
            "devices": [_device_data(device) for device in self.devices],
        }


def inspect_folder(
    folder: str | Path, device: str | None = None, limit: int = 16, emulated: bool = False
) -> Inspection:
    """Survey a folder, by the letter of the specification or as the QEMU it ran on reads tables. Raises
    BadFile, BadImage, or BadRequest for a device that is none.
    """
    image = Image.load(folder)
    wanted = None if device is None else sid(device)
    unit = image.unit_as("qemu" if emulated else "specification", cached=False)
    survey = Survey(unit)
    try:
        devices = tuple(
            _device(survey, found, image.drivers.get(found.sid, ""), limit)
            for found in survey.attached()
            if wanted is None or found.sid == wanted
        )
    except BadImage as error:
        raise BadImage(f"{image.name}: {error}") from None
    if wanted is not None and not devices:
        raise BadImage(f"{image.name}: {bdf(wanted)} has no context entry")
    return Inspection(image.name, MODES[unit.mode], unit.root_table, devices, emulated)


def _device(survey: Survey, found: Attached, driver: str, limit: int) -> Device:
    pages = survey.pages(found.space) if found.space else 0
    ranges = tuple(islice(survey.ranges(found.space), limit + 1)) if found.space else ()
    return Device(found, driver, ranges[:limit], len(ranges) > limit, pages)


def _device_lines(device: Device) -> list[str]:
    found = device.attached
    driver = f"  driver {device.driver}" if device.driver and device.driver != "none" else ""
    lines = [
        describe(found) + driver,
        f"  root entry     {_hex(found.root)}",
        f"  context entry  {_hex(found.context)}",
    ]
    lines += [f"  PASID entry    {_hex(found.pasid_entry[:3])}"] if found.pasid_entry else []
    lines += [f"  {part!r}" for part in device.ranges]
    if device.more:
        shown = sum(part.size for part in device.ranges) >> 12
        lines.append(f"  ... {device.pages - shown} more pages (--limit shows more)")
    return [*lines, f"  {device.pages} pages mapped"]


def _hex(words: Sequence[int]) -> str:
    """Raw words, highest first, as debugfs prints them."""
    return ":".join(f"0x{word:016x}" for word in reversed(words))


def _device_data(device: Device) -> dict[str, Any]:
    found, space = device.attached, device.attached.space
    return {
        "device": bdf(found.sid),
        "pasid": found.pasid,
        "driver": device.driver,
        "root_entry": [hex(word) for word in found.root],
        "context_entry": [hex(word) for word in found.context],
        "pasid_entry": [hex(word) for word in found.pasid_entry],
        "path": space and space.path,
        "did": space and space.did,
        "refused": found.refusal or None,
        "pages": device.pages,
        "more": device.more,
        "ranges": [
            {
                "iova": hex(part.iova),
                "address": hex(part.address),
                **{name: getattr(part, name) for name in ("size", "page", "permissions")},
            }
            for part in device.ranges
        ],
    }
