"""The DMAR table in any form: binary, acpidump's text, a hex dump, a disassembly (.dsl).

A disassembly is put together again from the offset, length and value that each of its lines has, or from the
raw data at its end. The table is then read as bytes; what breaks a rule is named with its offset where it
has one, and with what Linux does about it; reading shows what was sound before a length that cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Any

from vtdkit.vtd.firmware.dmar import (
    HEADER_BYTES,
    SCOPE_NAMES,
    Andd,
    Atsr,
    BadDmar,
    Dmar,
    Drhd,
    Rhsa,
    Rmrr,
    Satc,
    Scope,
    parse,
)

from .formats import Format, Group, Row, Text, holding, pattern
from .lines import echo
from .report import Piece

MOST_BYTES = 1 << 20
# words of a problem, what Linux (drivers/iommu/intel/dmar.c, iommu.c, irq_remapping.c) does about it
_LINUX = {
    "checksum": "the ACPI core prints a warning about the checksum and uses the table all the same",
    "at address 0": 'Linux prints "Your BIOS is broken; DMAR reported at address 0!", does not use the '
    "unit, and stops reading the table with an error: as a rule no unit is used",
    "not a range of whole pages": "Linux warns of a bad RMRR, marks the kernel as tainted by firmware, and "
    "goes on",
    "X2APIC_OPT_OUT without": "Linux does not remap interrupts (INTR_REMAP is 0) and never looks at the "
    "other flag",
    "no DRHD has an IOAPIC": "Linux does not remap interrupts: not all IOAPICs are below a unit",
    "which nobody knows": "Linux warns of an unsupported device scope and leaves it out",
    "names no remapping unit": "Linux has no unit to use: DMA is not remapped",
}
_UNKNOWN = "what follows is unknown, the checksum too"
_STOPS = 'Linux stops there too ("Record passes table end"): parsing fails and no unit is used'
_ZERO = "Linux stops reading at a structure of length 0 and uses what came before"
_FLAGS = ("INTR_REMAP", "X2APIC_OPT_OUT", "DMA_CTRL_PLATFORM_OPT_IN")


def is_binary(first: bytes) -> bool:
    """Whether a file is a table rather than text about one."""
    return first[:4] == b"DMAR" and (len(first) < 9 or any(byte < 9 for byte in first[4:48]))


def _table(group: Group, text: Text) -> Iterator[Piece]:
    """The bytes of a table that was printed, put together."""
    data = bytearray()
    parts = ((int(row["at"], 16), _bytes(row)) for _, row in group.rows if "at" in row)
    for at, part in parts:
        if at == 0 and data and part[:4] != b"DMAR":
            break  # another table's
        if at + len(part) <= MOST_BYTES:
            data.extend(bytes(max(at - len(data), 0)))
            data[at : at + len(part)] = part
    if data:
        yield from table_pieces(group.line, bytes(data))


def _bytes(row: Row) -> bytes:
    """What a line of a dump or of a disassembly stands for."""
    if "bytes" in row:
        return bytes.fromhex(row["bytes"].replace(" ", ""))
    value, length = row["value"].strip(), row["length"]
    size = min(int(length.rstrip("h"), 16 if length.endswith("h") else 10), 256)
    if value.startswith('"'):
        words = value[1:].partition('"')[0].encode("ascii", "replace")
        return words.ljust(size, b" " if size <= 8 else b"\0")[:size]
    digits = re.match(r"[\da-fA-F]{2}(?:[ ,]?[\da-fA-F]{2}){0,255}", value)
    shown = digits[0] if digits else ""
    data = bytes.fromhex(re.sub("[ ,]", "", shown))[:size].ljust(size, b"\0")
    return data if "," in shown or " " in shown else data[::-1]


def table_pieces(line: int, data: bytes) -> Iterator[Piece]:
    """A whole table: the header with everything odd about it, then a piece for each structure."""
    said = int.from_bytes(data[4:8], "little")
    cut = len(data) < said
    notes = [*holding({f"the text ends after {len(data)} of {said} bytes: {_UNKNOWN}": cut})]
    data = data[:4] + len(data).to_bytes(4, "little") + data[8:] if cut else data
    try:
        table: Dmar | None = parse(data)
    except BadDmar as error:
        table, at = error.table, error.offset
        linux = _ZERO if data[at : at + 2] == bytes(2) else _STOPS
        notes.append(f"reading stopped: {error}" + ("" if cut else f". {linux}"))
    if table is None:
        title = f"{len(data)} bytes that cannot be read"
        yield Piece("DMAR table", line, title, notes=tuple(notes), lesson=20)
        return
    offsets = accumulate((4 + len(part.body()) for part in table.structures), initial=HEADER_BYTES)
    parts = list(zip(offsets, table.structures, strict=False))
    own = {problem: at for at, part in parts for problem in replace(table, structures=(part,)).problems()}
    own |= dict.fromkeys(replace(table, structures=()).problems(), 0)
    for problem in replace(table, wrong_checksum=None if cut else table.wrong_checksum).problems():
        linux = next((says for words, says in _LINUX.items() if words in problem), "Linux reads on")
        notes.append(f"offset {own.get(problem, 0):#x}: {problem}: {linux}")
    kinds = ", ".join(type(part).__name__.upper() for part in table.structures)
    yield Piece(
        "DMAR table",
        line,
        f"{len(table.structures)} structures: {kinds or 'none'}",
        (
            ("made by", f"{_text(table.oem_id)} {_text(table.oem_table_id)}, revision {table.revision}"),
            ("width", f"host addresses of {table.host_address_width} bits"),
            ("flags", ", ".join(name for bit, name in enumerate(_FLAGS) if table.flags >> bit & 1) or "none"),
            ("length", f"{said} bytes by its header, {len(data)} there"),
        ),
        lesson=20,
        notes=tuple(notes),
    )
    for at, part in parts:
        says = _SAYS.get(type(part), lambda part: f"{len(part.body())} bytes")(part)
        facts = (
            (SCOPE_NAMES.get(scope.type, f"type {scope.type}"), _scope(scope)) for scope in part.scopes[:32]
        )
        title = f"{type(part).__name__.upper()} at offset {at:#x}: {says}"
        yield Piece("DMAR structure", line, title, tuple(facts))


def _text(raw: bytes) -> str:
    return echo(raw.decode("ascii", "replace").rstrip("\0 "))


_SERVES = ("the devices it names", "every device of its segment that no other unit names")
#: one structure, in words
_SAYS: dict[type, Callable[[Any], str]] = {
    Drhd: lambda part: f"unit at {part.base:#x}, segment {part.segment}, serves {_SERVES[part.include_all]}",
    Rmrr: lambda part: f"reserved {part.base:#x} to {part.limit:#x}{_size(part)}",
    Atsr: lambda part: (
        f"device TLBs below {'all' if part.flags & 1 else 'these'} root ports, segment {part.segment}"
    ),
    Satc: lambda part: f"integrated devices with a device TLB{', which they need' if part.flags & 1 else ''}",
    Rhsa: lambda part: f"unit {part.base:#x} belongs to NUMA node {part.domain}",
    Andd: lambda part: f"ACPI device {part.number} is {_text(part.name)}",
}


def _size(part: Rmrr) -> str:
    return f", {(part.limit - part.base + 1) >> 10} KiB" if part.limit > part.base else ""


def _scope(scope: Scope) -> str:
    """Which device a scope names."""
    path = "/".join(f"{device:02x}.{function}" for device, function in scope.path)
    return f"{scope.bus:02x}:{path}" + (f", id {scope.enumeration}" if scope.type in (3, 4, 5) else "")


_ROW = pattern(
    r"^(?P<at>[\da-fA-F]{4,8}):? (?P<bytes>(?: ?[\da-fA-F]{2}){1,16})(?![\da-fA-F])"
    r"|^\[(?P<at_>[\da-fA-F]{3,4})h \d{4,5} (?P<length>[\da-fA-F]{1,3}h|\d{1,3})\] [\w (),-]{1,60}? : "
    r"(?P<value>.{1,80})$"
    r"|^(?P<title>Raw Table Data)|^(?P<over>[A-Z\d]{4} @ 0x)"
)
FORMATS = (
    Format("DMAR table", "DMAR @", pattern(r"\bDMAR @ 0x[\da-fA-F]{1,16}"), _table, row=_ROW),
    Format(
        "DMAR table",
        "Signature",
        pattern(r"\[(?P<at>000)h 0000 (?P<length>0{0,2}4h?)\] Signature : (?P<value>\"DMAR\")"),
        _table,
        row=_ROW,
    ),
    *(
        Format(
            "DMAR table",
            literal,
            pattern(r"\b(?P<at>0{4,8}):? (?P<bytes>44 ?4[dD] 41 ?52(?: ?[\da-fA-F]{2}){0,12})(?![\da-fA-F])"),
            _table,
            row=_ROW,
        )
        for literal in ("444d 4152", "44 4D 41 52", "44 4d 41 52", "444D 4152")
    ),
)
