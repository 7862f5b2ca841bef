"""Everything about a remapping unit that the specification leaves to whoever builds one.

`Capabilities` is one frozen record. What software can read of it is CAP and ECAP (`.cap`, `.ecap`, derived,
never set); the rest is size and temperament: how many entries a cache holds,
which of two conditions in one entry is reported first. Units can coexist with different records; there are no
globals.

Reading is not building: a record can stand for whatever a machine reports, and `odd` lists what rev 5.10
would not have there. Only a unit that is built from it insists (`check`); `buildable` is the nearest that
passes.

Fields with a capital name are register fields and carry the specification's name. Three of them are given as
the number they stand for, not as the register codes it: `MGAW` in bits, `NFR` in records, `PSS` in PASID
bits.

The choices the specification leaves open (and that are fixed here, once):

- `reserved_first`: one entry of a page table can lack the permission asked for and have a reserved bit set.
  False reports the permission first, as two independent emulators do; True the reserved bit.
- a walk for an untranslated request stops at the first entry that lacks the permission; a walk for a
  translation request goes on, since its answer carries the effective permissions.
- conditions of one context or PASID entry are reported in the order of the specification's tables.
- a translation request is recorded as a read (T1=1, T2=0).
- pass-through translations are cached, 4 KiB at a time; root-table entries and faulting entries are not (but
  see CM).
- accessed flags are not set speculatively: only entries that the walk used get them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, make_dataclass, replace
from functools import cached_property
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vtdkit.vtd.plain import told
from vtdkit.vtd.registers.capability import CAP, ECAP, ECAP_NEEDS, VER
from vtdkit.vtd.tables.layout import Structure


class BadCapabilities(ValueError):
    """A combination of capabilities that no unit can be built with. The text says which, and what would
    repair it.
    """


_DEFAULTS: dict[str, Any] = {
    # host address width, in bits
    "HAW": 46,
    # every field of CAP and ECAP; what is not named here is 0
    **dict.fromkeys((*CAP.names, *ECAP.names), 0),
    **dict.fromkeys(("PLMR", "PHMR", "ZLR", "PSI", "DWD", "DRD", "FS1GP"), 1),
    **dict.fromkeys(("C", "QI", "DT", "IR", "EIM", "PT", "SC", "PSS"), 1),
    "ND": 6,
    "SAGAW": 0b00110,
    "MGAW": 48,
    "FRO": 0x22,
    "SSLPS": 3,
    "NFR": 4,
    "MAMV": 18,
    "IRO": 0x0F,
    "MHMV": 15,
    # bits that rev 5.10 no longer defines, as a machine reports them
    "old_cap": 0,
    "old_ecap": 0,
    # VER: what changes with the major version is in the register and fault rules
    "major": 5,
    "minor": 0,
    # protected memory: addresses are compared without their low bits, as many as this
    "pmr_bits": 21,
    # sizes, in entries
    "context_entries": 16,
    "pasid_entries": 16,
    "iotlb_entries": 64,
    "structure_entries": 16,
    "interrupt_entries": 16,
    # the largest page, in bytes, that one IOTLB entry holds; larger ones are cached in pieces of this size
    "iotlb_page": 1 << 30,
    # temperament
    "reserved_first": False,
}
_LESS_BY_ONE = ("MGAW", "NFR", "PSS")  # in the register
_Fields: Any = make_dataclass(
    "Capabilities", [(name, type(value), value) for name, value in _DEFAULTS.items()], frozen=True
)


class Capabilities(_Fields):  # type: ignore[misc]
    """What one unit can do, or says it can. Its fields are those of CAP and ECAP, and the others of
    `_DEFAULTS`.
    """

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> int: ...

    def check(self) -> None:
        """Raises BadCapabilities if no unit can be built with this."""
        if self._problems:
            raise BadCapabilities("; ".join(self._problems))

    @cached_property
    def odd(self) -> tuple[str, ...]:
        """What is out of the ordinary: what no unit can be built with first, then bits of older revisions."""
        if self.ND == 7 and self.cap == self.ecap == _ALL_ONES:
            return ("CAP and ECAP are all ones: nobody answers at this address",)
        return (
            *self._problems,
            *(
                f"{register} bit {part.bits} is set: {part.meaning or 'reserved in rev 5.10'}"
                for register, layout, value in (("CAP", CAP, self.old_cap), ("ECAP", ECAP, self.old_ecap))
                for part in sorted(layout.fields, key=lambda part: part.low)
                if part.role == "reserved" and value & part.mask
                if not (self.extended_mode and part.low == 24)
            ),
        )

    @cached_property
    def _problems(self) -> tuple[str, ...]:
        """What is wrong, most basic first."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        ranges = ((name, values[name], *limits) for name, limits in _RANGES.items())
        return (
            *(
                f"{n}={v} is out of range: {low} to {high}"
                for n, v, low, high in ranges
                if not low <= v <= high
            ),
            *(f"{name} must be at least 1" for name in _SIZES if values[name] < 1),
            *(
                f"{name}={value} is a single bit: 0 or 1"
                for name, value in values.items()
                if name not in _NUMBERS and value not in (0, 1)
            ),
            *told(
                (
                    self.SAGAW & ~0b01110,
                    f"SAGAW={self.SAGAW:#07b}: only bits 1 (39), 2 (48) and 3 (57) are defined",
                ),
                (
                    self.SSLPS not in (0, 1, 3),
                    f"SSLPS={self.SSLPS}: legal are 0 (none), 1 (2M), 3 (2M and 1G)",
                ),
                (
                    self.iotlb_page not in (1 << 12, 1 << 21, 1 << 30),
                    "iotlb_page must be 4K, 2M or 1G, in bytes",
                ),
                (self.RWBF and self.SMTS, "RWBF must be 0 when SMTS is 1"),
                (
                    self.extended_mode,
                    "ECAP bit 24 (ECS) without SMTS: bits 25 to 40 speak of extended mode, which is not "
                    "modelled",
                ),
            ),
            *(
                f"{name}={values[name]} needs {other}=1"
                for name, needed in ECAP_NEEDS.items()
                if values[name] and not (self.extended_mode and name in _EXTENDED)
                for other in needed
                if not values[other]
            ),
        )

    @cached_property
    def extended_mode(self) -> bool:
        """Whether ECAP means the extended mode that scalable mode replaced (bit 24, before SMTS existed)."""
        return bool(self.old_ecap >> 24 & 1) and not self.SMTS

    def buildable(self) -> Capabilities:
        """The same without what needs something that is not there: extended mode, a bit that lacks another, a
        host address wider than the 52 bits a table entry has room for.
        """
        changes: dict[str, Any] = {
            "HAW": min(self.HAW, _WIDEST),
            "old_ecap": self.old_ecap & ~_EXTENDED_BITS,
            **(dict.fromkeys(_EXTENDED, 0) if self.extended_mode else {}),
        }
        names = [name for name in ECAP_NEEDS if name not in changes]
        for _ in names:  # one bit may take another with it
            have = {**{name: getattr(self, name) for name in ECAP.names}, **changes}
            changes.update({n: 0 for n in names if have[n] and not all(have[m] for m in ECAP_NEEDS[n])})
        return replace(self, **changes)

    @classmethod
    def scalable(cls, **changes: Any) -> Capabilities:
        """A unit with everything scalable mode offers, as a start for lessons and tests."""
        wide: dict[str, Any] = {"PSS": 20, "SAGAW": 0b01110, "MGAW": 57, "FS5LP": 1}
        return cls(**{**dict.fromkeys(_SCALABLE, 1), **wide, **changes})

    @classmethod
    def from_registers(
        cls, cap: int, ecap: int, *, haw: int | None = None, ver: int = 0x50, **more: Any
    ) -> Capabilities:
        """The capabilities that CAP and ECAP read from a machine stand for, whatever they are.

        `haw` is the host address width in bits, which no register tells (the DMAR table does); without it,
        MGAW, as far as a table entry has room for it. Raises BadCapabilities for what is no register.
        """
        cap, ecap, ver = _number("CAP", cap, 64), _number("ECAP", ecap, 64), _number("VER", ver, 32)
        read = (*CAP.decode(cap), *ECAP.decode(ecap))
        values: dict[str, Any] = {name: value + (name in _LESS_BY_ONE) for name, value in read}
        values.update(
            HAW=min(values["MGAW"], _WIDEST) if haw is None else _number("HAW", haw, 16),
            major=ver >> 4 & 15,
            minor=ver & 15,
            old_cap=cap & CAP.reserved_mask({}),
            old_ecap=ecap & ECAP.reserved_mask({}),
        )
        return cls(**{**values, **more})

    @cached_property
    def cap(self) -> int:
        """The CAP register."""
        return self._coded(CAP) | self.old_cap

    @cached_property
    def ecap(self) -> int:
        """The ECAP register."""
        return self._coded(ECAP) | self.old_ecap

    def _coded(self, layout: Structure) -> int:
        return layout.encode(**{n: int(getattr(self, n)) - (n in _LESS_BY_ONE) for n in layout.names})

    @cached_property
    def ver(self) -> int:
        """The VER register."""
        return VER.encode(MAX=self.major, MIN=self.minor)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """The address widths of the page-table depths there are, smallest first: 39, 48, 57."""
        return tuple(30 + 9 * i for i in (1, 2, 3) if self.SAGAW >> i & 1)

    @cached_property
    def domain_bits(self) -> int:
        """How many bits of a domain id this unit looks at."""
        return 4 + 2 * self.ND

    @cached_property
    def did_mask(self) -> int:
        """The bits of a domain id that this unit looks at."""
        return (1 << self.domain_bits) - 1

    @cached_property
    def host_limit(self) -> int:
        """The first physical address that is too wide."""
        return 1 << self.HAW

    @cached_property
    def environment(self) -> Mapping[str, int]:
        """Names to numbers, for the when-reserved conditions of the tables (see `layout`).

        Modes (SSIRWE, EIME) are 0 here; `with_modes` gives the environment in force under a mode.
        """
        return self.with_modes()

    def with_modes(self, *, SSIRWE: int = 0, EIME: int = 0) -> Mapping[str, int]:
        values = {f.name: int(getattr(self, f.name)) for f in fields(self)}
        values.update(
            DID=self.did_mask,
            TWO_MB=self.SSLPS & 1,
            ONE_GB=self.SSLPS >> 1 & 1,
            SSIRWE=SSIRWE,
            EIME=EIME,
            DST=0xFFFF_FFFF if EIME else 0x0000_FF00,
        )
        return MappingProxyType(values)

    def __repr__(self) -> str:
        changed = (f for f in fields(self) if getattr(self, f.name) != f.default)
        return f"Capabilities({', '.join(f'{f.name}={getattr(self, f.name)}' for f in changed)})"


_SCALABLE = (
    *("SMTS", "SSTS", "FSTS", "NEST", "SRS", "EAFS", "PASID", "SSADS", "SMPWC"),
    *("RPS", "RPRIVS", "PRS", "PDS", "DIT", "NWFS", "MTS", "ADMS"),
)

# What bits 25 to 40 said in extended mode under the same names, but of another kind of table.
_EXTENDED = ("MTS", "NEST", "PRS", "ERS", "SRS", "NWFS", "EAFS", "PASID", "DIT", "PDS")
_EXTENDED_BITS = 1 << 24 | 1 << 27 | 1 << 28
_ALL_ONES = (1 << 64) - 1
_WIDEST = 52

_RANGES: dict[str, tuple[int, int]] = {
    "HAW": (32, _WIDEST),
    "MGAW": (12, 64),
    "ND": (0, 6),
    "NFR": (1, 256),
    "MAMV": (0, 63),
    "FRO": (0, 1023),
    "IRO": (0, 1023),
    "MHMV": (0, 15),
    "PSS": (1, 20),
    "major": (1, 15),
    "minor": (0, 15),
    "pmr_bits": (12, 31),
}
_SIZES = ("context_entries", "pasid_entries", "iotlb_entries", "structure_entries", "interrupt_entries")
_NUMBERS = {*_RANGES, *_SIZES, "SAGAW", "SSLPS", "iotlb_page", "old_cap", "old_ecap"}


def _number(name: str, value: Any, bits: int) -> int:
    """A register's value, if it can be one."""
    try:
        number = index(value)
    except TypeError:
        what = "None" if value is None else f"a {type(value).__name__}"
        raise BadCapabilities(f"{name} is {what}, not a number such as 0xd2008c222f0686") from None
    if number >> bits:
        raise BadCapabilities(f"{name} is {number:#x}, which is no number of {bits} bits")
    return number
