"""What a device asks, and what it is told: requests, translations, faults.

All are frozen records. Addresses and sizes are in bytes; a source id is the 16-bit bus/device/function
number, and `sid("00:03.0")` makes one. A `Request` is the transaction as the root complex sees it: one that
crosses a 4 KiB boundary has been split before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from .plain import echo, quoted, shown, told

Kind: TypeAlias = Literal["read", "write", "atomic", "zero-length read"]
AddressType: TypeAlias = Literal["untranslated", "translation", "translated"]

READ, WRITE, USER = 1, 2, 4
# The permissions each kind of access needs.
NEEDS: dict[str, int] = {"read": READ, "write": WRITE, "atomic": READ | WRITE, "zero-length read": READ}
_ADDRESS_TYPES = frozenset(("untranslated", "translation", "translated"))
_LIMIT = 1 << 64


class BadRequest(ValueError):
    """A request no device could make. The text says which field and what it may be."""


@dataclass(frozen=True, slots=True)
class Request:
    """One transaction.

    `at` is the address type (AT): untranslated, a translation request of ATS, or translated. `supervisor` and
    `execute` are the PR and ER flags of the PASID prefix, so they need a `pasid`. `no_write` is the NW flag
    of a translation request. `length` is in bytes; `data` is what a write carries (it matters for interrupt
    messages).
    """

    sid: int
    address: int
    kind: Kind = "read"
    at: AddressType = "untranslated"
    pasid: int | None = None
    supervisor: bool = False
    execute: bool = False
    no_write: bool = False
    length: int = 4
    data: int = 0

    def __post_init__(self) -> None:
        fits = 0 <= self.sid < 0x10000 and 0 <= self.address < _LIMIT and 0 <= (self.pasid or 0) < 1 << 20
        whole = self.length >= 0 and (self.address & 0xFFF) + self.length <= 4096
        prefixed = self.pasid is not None or not (self.supervisor or self.execute)
        if not (fits and whole and prefixed and self.kind in NEEDS and self.at in _ADDRESS_TYPES):
            raise BadRequest(_complaint(self))

    @property
    def writes(self) -> bool:
        return self.kind in ("write", "atomic")

    def __repr__(self) -> str:
        extra = "" if self.pasid is None else f" PASID {self.pasid:#x}"
        flags = "".join(f" {n}" for n in ("supervisor", "execute", "no_write") if getattr(self, n))
        at = "" if self.at == "untranslated" else f" ({self.at})"
        return f"<{bdf(self.sid)} {self.kind} {self.address:#x}{at}{extra}{flags}>"


def _complaint(r: Request) -> str:
    """The first thing that is wrong with a request."""
    return told(
        (
            not 0 <= r.sid < 0x10000,
            f"sid={echo(hex(r.sid))}: a source id has 16 bits; sid('00:03.0') makes one from a bus address",
        ),
        (not 0 <= r.address < _LIMIT, f"address={echo(hex(r.address))} does not fit in 64 bits"),
        (r.kind not in NEEDS, f"kind={quoted(r.kind)}: it is one of {', '.join(NEEDS)}"),
        (
            r.at not in _ADDRESS_TYPES,
            f"at={quoted(r.at)}: it is untranslated, translation or translated",
        ),
        (
            r.pasid is None and (r.supervisor or r.execute),
            "supervisor and execute come with a PASID; give pasid=",
        ),
        (not 0 <= (r.pasid or 0) < 1 << 20, f"pasid={echo(hex(r.pasid or 0))} has more than 20 bits"),
        (True, f"{echo(r.length)} bytes at {r.address:#x} cross a 4 KiB boundary; split the request"),
    )[0]


def sid(text: str) -> int:
    """The source id of a bus address such as "00:03.0" or "0000:00:03.0". Raises BadRequest."""
    found = re.fullmatch(
        r"(?:[\da-f]+:)?([\da-f]{1,2}):([01]?[\da-f])[.:]([0-7])", text, re.ASCII | re.IGNORECASE
    )
    if not found:
        raise BadRequest(f"{quoted(text)} is no bus address; write bus:device.function, as in 00:03.0")
    return int(found[1], 16) << 8 | int(found[2], 16) << 3 | int(found[3])


def bdf(source: int) -> str:
    """A source id as bus:device.function."""
    return f"{source >> 8:02x}:{source >> 3 & 31:02x}.{source & 7}"


@dataclass(frozen=True, slots=True)
class Completion:
    """The fields of an ATS translation completion. `address` carries the size code in its low page bits
    (S=1).
    """

    R: int
    W: int
    U: int = 0
    S: int = 0
    N: int = 0
    PRIV: int = 0
    address: int = 0

    __repr__ = shown


@dataclass(frozen=True, slots=True)
class Interrupt:
    """What a remapped interrupt is when it goes on to the interrupt controllers."""

    sid: int
    destination: int
    vector: int
    delivery: int
    logical: bool
    hint: bool
    level: bool
    extended: bool = False

    __repr__ = shown


@dataclass(frozen=True, slots=True)
class Fault:
    """A refused request. `recorded` says whether it reaches the fault records; `response` what the device is
    told.

    `pasid` is the PASID it was refused under, also when the request carried none.
    """

    label: str
    code: int | None
    name: str
    response: str
    recorded: bool
    request: Request
    pasid: int | None = None
    cached: bool = False

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        code = "no code" if self.code is None else f"code {self.code:X}h"
        quiet = "" if self.recorded else ", not recorded"
        return f"<Fault {self.label} ({code}): {self.name}; {self.request!r} gets {self.response}{quiet}>"


class Translation(NamedTuple):
    """A granted request. Truthy, where a `Fault` is falsy.

    `address` is the result for `request.address`; `size` the page it lies in, in bytes; `path` how it came
    about (second stage, first stage, nested, pass-through, translated, off, interrupt, interrupt window);
    `entry` the leaf entry of the last stage and `level` its level, 0 when there is none. A translation
    request can be granted with no permission at all; then `why` is the fault that it would have been
    otherwise.
    """

    request: Request
    address: int
    size: int
    readable: bool
    writable: bool
    path: str
    did: int | None
    level: int
    entry: int
    cached: bool = False
    completion: Completion | None = None
    why: Fault | None = None
    interrupt: Interrupt | None = None

    @property
    def permissions(self) -> str:
        return ("r" if self.readable else "-") + ("w" if self.writable else "-")

    def __repr__(self) -> str:
        did = "" if self.did is None else f" DID {self.did}"
        cached = " from the IOTLB" if self.cached else ""
        text = f"{self.request.address:#x} -> {self.address:#x} {self.permissions} {size_name(self.size)}"
        return f"<Translation {bdf(self.request.sid)} {text} {self.path}{did}{cached}>"


def size_name(size: int) -> str:
    """4096 as 4K, and so on."""
    units = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"), (1, ""))
    return next(f"{size // unit}{letter}" for unit, letter in units if size % unit == 0 and size >= unit)
