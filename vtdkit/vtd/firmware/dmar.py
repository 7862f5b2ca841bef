"""The ACPI DMAR table: how firmware tells an operating system which remapping units there are.

`parse` turns the bytes into records, `Dmar.to_bytes` turns records into the same bytes again. Mirrors chapter
8 of the VT-d specification, rev 5.10: the header, every remapping structure (DRHD, RMRR, ATSR, RHSA, ANDD,
SATC, SIDP) and device scopes. A structure of an unknown type is kept as it is.

A table whose lengths do not add up raises `BadDmar` with the offset; what was sound before it is in
`BadDmar.table`. A table that can be read but breaks a rule (checksum, order of the structures, alignment of a
base address …) is reported by `Dmar.problems`, since firmware does such things and operating systems read on.
Among the rules are those for which Linux (drivers/iommu/intel/dmar.c, iommu.c) prints a firmware bug.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from vtdkit.vtd.plain import quoted, shown, told

HEADER_BYTES, CHECKSUM_AT = 48, 9
_HEADER = struct.Struct("<4sIBB6s8sI4sIBB10s")
INTR_REMAP, X2APIC_OPT_OUT, DMA_CTRL_PLATFORM_OPT_IN = 1, 2, 4
INCLUDE_PCI_ALL = ALL_PORTS = 1
SCOPE_NAMES = {1: "endpoint", 2: "bridge", 3: "IOAPIC", 4: "HPET", 5: "ACPI name"}
IOAPIC, ACPI_NAME = 3, 5


class BadDmar(ValueError):
    """A table that cannot be read to its end. `offset` is where, in bytes from its start; `table` what could
    be read before that.
    """

    def __init__(self, offset: int, problem: str) -> None:
        super().__init__(f"DMAR, offset {offset:#x}: {problem}")
        self.offset = offset
        self.table: Dmar | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """A device scope: what it is, where its path starts, and the (device, function) pairs of the path."""

    type: int
    bus: int
    path: tuple[tuple[int, int], ...]
    enumeration: int = 0
    flags: int = 0
    reserved: int = 0

    def to_bytes(self) -> bytes:
        head = self.type, 6 + 2 * len(self.path), self.flags, self.reserved, self.enumeration, self.bus
        return bytes((*head, *(number for pair in self.path for number in pair)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Remapping:
    """A remapping structure of one `TYPE`: `LAYOUT` packs the fields named in `ORDER`, then come the scopes.
    What most kinds have is here.
    """

    TYPE: ClassVar[int]
    LAYOUT: ClassVar[struct.Struct]
    ORDER: ClassVar[tuple[str, ...]]
    segment: int = 0
    flags: int = 0
    scopes: tuple[Scope, ...] = ()
    reserved: int | bytes = 0

    def body(self) -> bytes:
        fields = self.LAYOUT.pack(*(getattr(self, name) for name in self.ORDER))
        return fields + b"".join(scope.to_bytes() for scope in self.scopes)

    __repr__ = shown


@dataclass(frozen=True, slots=True, repr=False)
class Drhd(Remapping):
    """A remapping unit: its registers and the devices it serves. `size`: the window has 2^size pages."""

    TYPE, LAYOUT, ORDER = 0, struct.Struct("<BBHQ"), ("flags", "size", "segment", "base")
    base: int
    size: int = 0

    @property
    def include_all(self) -> bool:
        return bool(self.flags & INCLUDE_PCI_ALL)


@dataclass(frozen=True, slots=True, repr=False)
class Rmrr(Remapping):
    """Memory that devices use behind the operating system's back; `limit` is its last byte."""

    TYPE, LAYOUT, ORDER = 1, struct.Struct("<HHQQ"), ("reserved", "segment", "base", "limit")
    base: int
    limit: int


@dataclass(frozen=True, slots=True, repr=False)
class Atsr(Remapping):
    """Root ports that support device TLBs."""

    TYPE, LAYOUT, ORDER = 2, struct.Struct("<BBH"), ("flags", "reserved", "segment")


@dataclass(frozen=True, slots=True, repr=False)
class Rhsa(Remapping):
    """Which NUMA node a remapping unit belongs to."""

    TYPE, LAYOUT, ORDER = 3, struct.Struct("<IQI"), ("reserved", "base", "domain")
    base: int
    domain: int


@dataclass(frozen=True, slots=True, repr=False)
class Andd(Remapping):
    """A device known to ACPI by name only."""

    TYPE, LAYOUT, ORDER = 4, struct.Struct("<3sB"), ("reserved", "number")
    number: int
    name: bytes
    reserved: int | bytes = field(default=bytes(3), kw_only=True)

    def body(self) -> bytes:
        return Remapping.body(self) + self.name


@dataclass(frozen=True, slots=True, repr=False)
class Satc(Remapping):
    """Integrated devices with an address translation cache."""

    TYPE, LAYOUT, ORDER = 5, struct.Struct("<BBH"), ("flags", "reserved", "segment")


@dataclass(frozen=True, slots=True, repr=False)
class Sidp(Remapping):
    """Properties of integrated devices, in the flags of their scopes."""

    TYPE, LAYOUT, ORDER = 6, struct.Struct("<HH"), ("reserved", "segment")


@dataclass(frozen=True, slots=True, repr=False)
class Unknown(Remapping):
    """A structure of a type this revision does not define, kept byte for byte."""

    TYPE: int  # type: ignore[misc]  # of each its own
    data: bytes

    def body(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class Dmar:
    """A whole table. `host_address_width` in bits; `wrong_checksum`: what was read, what it should be."""

    host_address_width: int
    flags: int = 0
    structures: tuple[Remapping, ...] = ()
    revision: int = 1
    oem_id: bytes = b"VTDKIT"
    oem_table_id: bytes = b"TEACHING"
    oem_revision: int = 1
    creator_id: bytes = b"VTDK"
    creator_revision: int = 1
    reserved: bytes = field(default=bytes(10), repr=False)
    wrong_checksum: tuple[int, int] | None = field(default=None, repr=False)

    def to_bytes(self) -> bytes:
        """The table as firmware would lay it out, with its length and checksum."""
        bodies = [(part.TYPE, part.body()) for part in self.structures]
        body = b"".join(struct.pack("<HH", kind, 4 + len(each)) + each for kind, each in bodies)
        header = _HEADER.pack(
            *(b"DMAR", HEADER_BYTES + len(body), self.revision, 0, self.oem_id, self.oem_table_id),
            *(self.oem_revision, self.creator_id, self.creator_revision),
            *(self.host_address_width - 1, self.flags, self.reserved),
        )
        raw = bytearray(header + body)
        raw[CHECKSUM_AT] = self.wrong_checksum[0] if self.wrong_checksum else -sum(raw) & 0xFF
        return bytes(raw)

    def problems(self) -> list[str]:
        """Rules that the table breaks: those of the whole first, then in the order of its structures."""
        found = [*self._whole(), *_names(self.structures)]
        bases = {part.base for part in self.structures if isinstance(part, Drhd)}
        closed: set[int] = set()  # segments of which an earlier unit takes all the rest
        for part in self.structures:
            found += _complaints(part)
            if isinstance(part, Rhsa) and part.base not in bases:
                found.append(f"RHSA names a unit at {part.base:#x}, and there is none")
            if isinstance(part, Drhd):
                if part.segment in closed:
                    found.append(f"DRHD {part.base:#x} follows the one that includes the rest of its segment")
                closed |= {part.segment} if part.include_all else set()
        return found

    def _whole(self) -> list[str]:
        """Problems of the table as such."""
        found, due = self.wrong_checksum or (0, 0)
        units = [part for part in self.structures if isinstance(part, Drhd)]
        order = [part.TYPE for part in self.structures]
        remapped, ioapic = self.flags & INTR_REMAP, any(s.type == IOAPIC for u in units for s in u.scopes)
        width = self.host_address_width
        return told(
            (
                self.wrong_checksum,
                f"checksum is {found:#04x}, the bytes of the table ask for {due:#04x}",
            ),
            (
                not 12 <= width <= 52,
                f"host address width {width}: it is 12 to 52 bits, as table entries hold",
            ),
            (not units, "no DRHD: the table names no remapping unit"),
            (order != sorted(order), "structures are not in ascending order of type"),
            (self.flags & X2APIC_OPT_OUT and not remapped, "X2APIC_OPT_OUT without INTR_REMAP"),
            (
                remapped and not ioapic,
                "INTR_REMAP, and no DRHD has an IOAPIC in its scope: its interrupts cannot be remapped",
            ),
        )


def _names(structures: tuple[Remapping, ...]) -> list[str]:
    """Scopes by ACPI name and the ANDD structures that hold the names belong together."""
    named = {part.number for part in structures if isinstance(part, Andd)}
    units = [part for part in structures if isinstance(part, Drhd)]
    used = {scope.enumeration for unit in units for scope in unit.scopes if scope.type == ACPI_NAME}
    return [
        *(f"a device scope names ACPI device {n}, and no ANDD does" for n in sorted(used - named)),
        *(f"ANDD names ACPI device {n}, and no DRHD has it in its scope" for n in sorted(named - used)),
    ]


def _complaints(part: Remapping) -> list[str]:
    """Problems of one structure."""
    types = {scope.type for scope in part.scopes}
    found = [
        f"{type(part).__name__.upper()} has a device scope of type {scope.type}, which nobody knows"
        for scope in part.scopes
        if scope.type not in SCOPE_NAMES
    ]
    if isinstance(part, Drhd):
        window, at = 4096 << (part.size & 15), f"DRHD {part.base:#x}"
        found += told(
            # Linux: "Your BIOS is broken; DMAR reported at address 0!", and the unit is not used
            (part.base == 0, "DRHD at address 0: no unit can be there, and none is used"),
            (part.base % window, f"{at} is not aligned to its window of {window:#x} bytes"),
            (part.include_all and types & {1, 2}, f"{at} includes everything and still lists PCI devices"),
        )
    if isinstance(part, Rmrr):
        ragged = part.base % 4096 or (part.limit + 1) % 4096 or part.limit <= part.base
        found += told((ragged, f"RMRR {part.base:#x} to {part.limit:#x} is not a range of whole pages"))
    if isinstance(part, Atsr):
        found += told(
            (part.flags & ALL_PORTS and types, "ATSR covers all ports and still lists some"),
            (types - {2}, "ATSR lists something that is no root port"),
        )
    if isinstance(part, Andd):
        endless = not part.name.endswith(b"\0")
        found += told((endless, f"ANDD name of ACPI device {part.number} does not end in NUL"))
    return found + told((isinstance(part, Satc) and types - {1}, "SATC lists something that is no endpoint"))


def parse(data: bytes) -> Dmar:
    """Read a table. Raises BadDmar."""
    head = data[:HEADER_BYTES]
    if len(data) > 8 and head.isascii() and not any(byte < 9 for byte in head):  # a table has zeros there
        raise BadDmar(0, "this is text, as acpidump prints it; the table itself is wanted (acpidump -b)")
    if len(data) < HEADER_BYTES:
        raise BadDmar(len(data), f"the table ends inside its header of {HEADER_BYTES} bytes")
    signature, length, revision, checksum, *rest = _HEADER.unpack_from(data)
    if signature != b"DMAR":
        raise BadDmar(0, f"signature is {quoted(signature)}")
    if not HEADER_BYTES <= length <= len(data):
        raise BadDmar(4, f"length {length} does not fit in {len(data)} bytes")
    due = checksum - sum(data[:length]) & 0xFF
    oem, oem_table, oem_revision, creator, creator_revision, width, flags, reserved = rest
    table = Dmar(
        *(width + 1, flags, (), revision, oem, oem_table, oem_revision, creator, creator_revision, reserved),
        wrong_checksum=(checksum, due) if checksum != due else None,
    )
    sound = list[Remapping]()
    try:
        sound.extend(_structures(data[:length]))  # those before an error stay
    except BadDmar as error:
        error.table = replace(table, structures=tuple(sound))
        raise
    return replace(table, structures=tuple(sound))


def _structures(data: bytes) -> Iterator[Remapping]:
    offset = HEADER_BYTES
    while offset < len(data):
        if offset + 4 > len(data):
            raise BadDmar(offset, "the table ends inside a structure's head")
        kind, length = struct.unpack_from("<HH", data, offset)
        if length < 4 or offset + length > len(data):
            raise BadDmar(
                offset + 2,
                f"structure of type {kind} says it is {length} bytes long, "
                f"where {len(data) - offset} are left",
            )
        yield _structure(kind, data[offset + 4 : offset + length], offset)
        offset += length


_KINDS = {kind.TYPE: kind for kind in (Drhd, Rmrr, Atsr, Rhsa, Andd, Satc, Sidp)}


def _structure(number: int, body: bytes, offset: int) -> Remapping:
    """The structure whose 4 bytes of head are at `offset`."""
    if (kind := _KINDS.get(number)) is None:
        return Unknown(number, body)
    size = kind.LAYOUT.size
    least = 4 + size + (kind is Andd)  # a name has at least its NUL
    if len(body) + 4 < least:
        raise BadDmar(offset + 2, f"structure of type {number} needs {least} bytes, has {len(body) + 4}")
    values: dict[str, Any] = dict(zip(kind.ORDER, kind.LAYOUT.unpack_from(body), strict=True))
    if kind is Andd:
        values["name"] = body[size:]
    elif kind is not Rhsa:
        values["scopes"] = _read_scopes(body[size:], offset + 4 + size)
    elif len(body) != size:
        raise BadDmar(offset + 2, f"RHSA is {len(body) + 4} bytes long, not 20")
    return kind(**values)


def _read_scopes(data: bytes, offset: int) -> tuple[Scope, ...]:
    scopes, at = list[Scope](), 0
    while at < len(data):
        length = data[at + 1] if at + 1 < len(data) else 0
        if length < 6 or length % 2 or at + length > len(data):
            raise BadDmar(offset + at, f"device scope says it is {length} bytes long")
        kind, _, flags, reserved, enumeration, bus = data[at : at + 6]
        path = tuple(zip(data[at + 6 : at + length : 2], data[at + 7 : at + length : 2], strict=True))
        scopes.append(Scope(kind, bus, path, enumeration, flags, reserved))
        at += length
    return tuple(scopes)
