"""The tables of a real machine, as a folder on disk, made into a remapping unit.

    image = Image.load("tests/reality/legacy48_lazy-s0-busy")
    image.unit.walk(Request(sid("00:03.0"), 0xbf73e000))

The folder holds `regs.json` (registers), `pages.npz` (every page reached from the root table, the
invalidation queue and the interrupt table), `dmar.bin` (the ACPI table that gives the host address width),
`meta.json` (what machine it was) and oracles: what QEMU and Linux said about the same tables. `image.unit`
follows the specification. The machine was emulated, so comparing faults takes `image.unit_as("qemu")`.

Files are not trusted: whatever is wrong with one raises `BadFile` or `BadImage`, in bounded time and memory.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vtdkit.vtd.capabilities import BadCapabilities, Capabilities
from vtdkit.vtd.firmware import dmar
from vtdkit.vtd.firmware.dmar import Dmar
from vtdkit.vtd.memory import Memory
from vtdkit.vtd.plain import echo, quoted
from vtdkit.vtd.quirks import SPECIFICATION, Quirks, qemu
from vtdkit.vtd.requests import BadRequest, sid
from vtdkit.vtd.unit.unit import MODES, RemappingUnit

from . import npz
from .npz import BadFile


class BadImage(ValueError):
    """A folder that is no image of a machine. The text names the folder, the file and the problem."""


@dataclass(frozen=True)
class Image:
    """One machine, as it was when it was stopped. Read-only: units made from it get memory of their own.

    `registers` are by name, `records` the fault records as (low, high); `pages` maps page frame numbers to
    512 words; `dmar` is the ACPI table that described the unit.
    """

    folder: Path
    registers: Mapping[str, int]
    records: tuple[tuple[int, int], ...]
    pages: Mapping[int, array[int]]
    dmar: Dmar
    raw_dmar: bytes

    @classmethod
    def load(cls, folder: str | Path) -> Image:
        """Read a folder. Raises BadFile or BadImage."""
        path = Path(folder)
        if not os.path.isdir(path):  # false for a name too long, where Path.is_dir raises
            what = "is a file, not a folder" if os.path.exists(path) else "there is no such folder"
            raise BadImage(f"{echo(path.name)}: {what}")
        if (path / "maps.csv.gz").exists() and not (path / "pages.npz").exists():
            raise BadImage(
                f"{echo(path.name)}: a workload folder (maps.csv.gz); it holds no tables to look at"
            )
        registers, records = _registers(path / "regs.json")
        raw = npz.read_bytes(path / "dmar.bin")
        try:
            table = dmar.parse(raw)
        except dmar.BadDmar as error:
            raise BadFile(path / "dmar.bin", str(error)) from None
        return cls(path, registers, records, _pages(path / "pages.npz"), table, raw)

    @property
    def name(self) -> str:
        return echo(self.folder.name)

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the machine's unit could do, from its CAP and ECAP."""
        cap, ecap, ver = self.registers["CAP"], self.registers["ECAP"], self.registers.get("VER", 0x10)
        return Capabilities.from_registers(cap, ecap, haw=self.dmar.host_address_width, ver=ver)

    @cached_property
    def unit(self) -> RemappingUnit:
        """A unit that follows the specification, with caches, over the machine's tables. Made once."""
        return self.unit_as()

    def unit_as(
        self,
        personality: str | Quirks = SPECIFICATION,
        *,
        cached: bool = True,
        writable: bool = False,
        ram: tuple[tuple[int, int], ...] = (),
        **changes: Any,
    ) -> RemappingUnit:
        """A new unit over the machine's tables.

        `personality` is "specification", "qemu" (the version the machine ran on) or a Quirks; raises
        ValueError for another text. `writable` lets the unit set flags in a copy of the tables; in the
        ranges `ram` what is not in the image reads 0. `changes` replace capabilities.
        """
        # Old machines report bits that mean something else now; their tables can be looked at all the same.
        capabilities = replace(self.capabilities.buildable(), **changes)
        memory = Memory(self.pages, writable=writable, ram=ram)
        try:
            unit = RemappingUnit(memory, capabilities, quirks=self._quirks(personality), cached=cached)
        except BadCapabilities as error:
            raise BadImage(f"{self.name}/regs.json: {error}") from None
        unit.restore(self._state())
        return unit

    def _quirks(self, personality: str | Quirks) -> Quirks:
        if isinstance(personality, Quirks):
            return personality
        if personality not in ("specification", "qemu"):
            raise ValueError(f"personality {quoted(personality)}: it is specification, qemu, or a Quirks")
        if personality == "specification":
            return SPECIFICATION
        version = str(self.meta.get("qemu_version"))
        try:
            return qemu(version)
        except ValueError as error:
            raise BadFile(self.folder / "meta.json", str(error)) from None

    def _state(self) -> dict[str, int]:
        """The registers to restore. Where the machine's IQA hid its descriptor width (DW), the mode tells
        it.
        """
        state = dict(self.registers)
        if state.get("RTADDR", 0) >> 10 & 3:
            state["IQA"] = state.get("IQA", 0) | 1 << 11
        return state | {f"FRCD{i}": low | high << 64 for i, (low, high) in enumerate(self.records)}

    @cached_property
    def meta(self) -> Mapping[str, Any]:
        """What machine it was: kernel, emulator, devices and drivers."""
        value = npz.read_json(self.folder / "meta.json")
        if not isinstance(value, dict):
            raise BadFile(self.folder / "meta.json", "is not an object")
        return value

    @cached_property
    def drivers(self) -> Mapping[int, str]:
        """Source id to the name of the driver that used the device."""
        named: dict[int, str] = {}
        devices = self.meta.get("devices", [])
        for device in devices if isinstance(devices, list) else []:
            if isinstance(device, dict) and isinstance(device.get("bdf"), str):
                try:
                    named[sid(device["bdf"])] = echo(device.get("driver", ""))
                except BadRequest:
                    continue
        return named

    def __repr__(self) -> str:
        mode = MODES[self.registers.get("RTADDR", 0) >> 10 & 3]
        return f"<Image {self.name}: {mode} mode, {len(self.pages)} pages>"


def _registers(path: Path) -> tuple[dict[str, int], tuple[tuple[int, int], ...]]:
    raw = npz.read_json(path)
    if not isinstance(raw, dict):
        raise BadFile(path, "is not an object of register names and values")
    records = raw.pop("FRCD", [])
    registers = {name: _hex(path, name, value) for name, value in raw.items() if name[:1] != "_"}
    if missing := [name for name in ("CAP", "ECAP", "GSTS", "RTADDR") if name not in registers]:
        raise BadFile(path, f"has no register {missing[0]}")
    pairs = isinstance(records, list) and all(isinstance(r, list) and len(r) == 2 for r in records)
    if not pairs or len(records) > 256:
        raise BadFile(path, "FRCD is not a list of fault records, each [low, high]")
    return registers, tuple((_hex(path, "FRCD", low), _hex(path, "FRCD", high)) for low, high in records)


def _hex(path: Path, name: str, value: object) -> int:
    try:
        return npz.number(value)
    except ValueError:
        what = f"{echo(name)} is {quoted(value)}, not a 64-bit number in hex"
        raise BadFile(path, what) from None


def _pages(path: Path) -> dict[int, array[int]]:
    (shape, numbers), (extent, words) = npz.read_npz(path, ("pfn", "data"))
    count = len(numbers)
    if (shape, extent) != ((count,), (count, 512)):
        raise BadFile(path, "pfn and data do not belong together")
    if any(number >> 40 for number in numbers) or len(set(numbers)) != count:
        raise BadFile(path, "page frame numbers are repeated or too large")
    return {number: words[512 * i : 512 * i + 512] for i, number in enumerate(numbers)}
