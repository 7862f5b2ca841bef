"""What a unit can do: CAP, ECAP and VER wherever a text has them, and how two units differ.

Boot lines of every era, sysfs files, `cap … ecap …` in any order of words, and tables of pairs with a
heading. Each pair is decoded with old meanings included (extended mode); what is odd about it is what
`Capabilities.odd` says."""

from __future__ import annotations

from collections.abc import Iterator

from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.registers.capability import CAP, ECAP

from .files import fields_of
from .formats import Format, Group, Row, Text, holding, number, pattern
from .messages import CONSEQUENCES
from .report import Piece

_ONES = (1 << 64) - 1
_PAGES = {0: "no large pages", 1: "2M pages", 3: "2M and 1G pages"}


def _pairs(group: Group, text: Text) -> Iterator[Piece]:
    """Pairs in one line, in lines of their own (`what`), or in the rows of a list (`name`)."""
    rows = [(line, row) for line, row in group.rows if "cap" in row]
    apart = {row["what"].lower(): row["value"].partition(":")[0] for _, row in group.rows if "what" in row}
    if "cap" in apart and "ecap" in apart:
        version = next((row["value"] for _, row in group.rows if row["what"] == "version"), "")
        rows = [(group.line, group.first | apart | {"version": version})]
    many = "name" in rows[-1][1] if rows else False
    told = {pair[:2] for pair in text.registers.values()}
    for line, row in rows if many else rows[:1]:
        cap, ecap = number(row["cap"]) & _ONES, number(row["ecap"]) & _ONES
        if many or "unit" in row or "what" not in row or (cap, ecap) not in told:
            name = row.get("unit") or row.get("name") or f"unit at line {line}"
            yield from _pair(group, text, name, cap, ecap, row, line, compare=not many or len(rows) <= 2)


def _version(row: Row) -> int | None:
    """VER as `1:0`, or in hex as the register has it."""
    major, colon, minor = (row.get("version") or row.get("ver") or "").partition(":")
    if not major:
        return None
    return int(major) << 4 & 0xF0 | int(minor) & 15 if colon else number(major)


def _pair(
    group: Group, text: Text, name: str, cap: int, ecap: int, row: Row, line: int, *, compare: bool
) -> Iterator[Piece]:
    """What one pair says, and how the unit differs from the first one of the text, if there are few."""
    ver, haw = _version(row), (int(row["haw"]) if "haw" in row else text.width)
    others = {pair[:2]: other for other, pair in text.registers.items()}
    text.registers.setdefault(name, (cap, ecap, 0x10 if ver is None else ver))
    caps = Capabilities.from_registers(cap, ecap, haw=haw, ver=0x10 if ver is None else ver)
    dead = cap == ecap == _ONES
    facts = [] if dead else [("can", _says(caps))]
    facts += [("CAP", f"{cap:#x}: {fields_of(CAP.decode(cap))}"), ("ECAP", f"{ecap:#x}: {_with_old(ecap)}")]
    facts += [("version", f"{ver >> 4}.{ver & 15}")] if ver is not None else []
    yield group.piece(
        f"{name}: CAP {cap:x}, ECAP {ecap:x}",
        *facts,
        line=line,
        count=group.count if group.format.row is None else 1,
        means="nobody answers at this address: Linux says so and does not use the unit" if dead else "",
        lesson=0,
        notes=(
            *(f"odd: {each}" for each in caps.odd),
            *holding(
                {
                    "bits 24 to 40 of ECAP have the meanings of extended mode, which scalable mode replaced; "
                    "legal for this machine": caps.extended_mode and not dead
                }
            ),
        ),
        bits=("CAP", cap),
    )
    if compare and others and (cap, ecap) not in others and len(others) < 4:
        (one_cap, one_ecap), one = next(iter(others.items()))
        yield _difference(group, line, (one, name), (one_cap, cap), (one_ecap, ecap))


def _says(caps: Capabilities) -> str:
    widths = ", ".join(f"{width} bits" for width in caps.widths) or "no width"
    mode = (
        "scalable mode" if caps.SMTS else "extended mode (old)" if caps.extended_mode else "legacy mode only"
    )
    return (
        f"page tables of {widths}, addresses of {caps.MGAW} bits, domain ids of {caps.domain_bits} bits, "
        f"{_PAGES.get(caps.SSLPS, 'odd large pages')}, fault records: {caps.NFR}; {mode}"
    )


def _with_old(raw: int) -> str:
    """The fields of ECAP by name; bits that have lost their meaning by what they were."""
    old = [part for part in ECAP.fields if part.role == "reserved" and raw & part.mask]
    return ", ".join(
        [fields_of(ECAP.decode(raw)), *(f"bit {part.bits} ({part.meaning or 'reserved'})" for part in old)]
    )


def _difference(
    group: Group, line: int, names: tuple[str, str], caps: tuple[int, int], ecaps: tuple[int, int]
) -> Piece:
    """Where two units differ, and what Linux does about it."""
    parts = ((layout, part, pair) for layout, pair in ((CAP, caps), (ECAP, ecaps)) for part in layout.fields)
    facts = [
        (
            part.name if part.role == "used" else f"{layout.name.removesuffix('_REG')} bit {part.bits}",
            f"{part.get(values[0]):#x} and {part.get(values[1]):#x}: {part.meaning or 'reserved'}",
        )
        for layout, part, values in parts
        if (values[0] ^ values[1]) & part.mask
    ]
    return group.piece(
        f"{' and '.join(names)} differ in {', '.join(name for name, _ in facts)}",
        *facts,
        kind="two units",
        line=line,
        means="Fields that only name places or sizes inside a unit (FRO, IRO, NFR) may differ freely.",
        lesson=6,
        notes=tuple(f"{name}: {CONSEQUENCES[name]}" for name, _ in facts if name in CONSEQUENCES),
    )


FORMATS = (
    *(
        Format(
            "capabilities",
            literal,
            pattern(
                r"(?:(?P<unit>dmar\d{1,4}|IOMMU \d{1,3}): )?(?:reg_base_addr HEX )?"
                r"(?:ver (?P<version>\d{1,2}:\d{1,2}) )?"
                r"\b(?:cap|CAP)\b ?[:=]? ?(?P<cap>(?:0x)?[\da-fA-F]{4,16}),? ?\b(?:ecap|ECAP)\b ?[:=]? ?"
                r"(?P<ecap>(?:0x)?[\da-fA-F]{1,16})\b"
            ),
            _pairs,
            whole=whole,
            gate=literal + "[ =:/]",
            same=("unit", "cap", "ecap"),
        )
        for literal, whole in (("cap", "ecap"), ("CAP", "ECAP"))
    ),
    Format(
        "capabilities",
        "intel-iommu/",
        pattern(
            r"(?P<unit>[\w-]{1,24})/intel-iommu/(?P<what>cap|ecap|version)[: ] ?"
            r"(?P<value>(?:0x)?[\da-fA-F]{1,16}(?::\d{1,2})?)\b"
        ),
        _pairs,
        whole="\n",
        same=("unit",),
    ),
    *(
        Format(
            "capabilities",
            literal,
            pattern(r"^(?P<what>cap|ecap|CAP|ECAP)(?:_REG)? ?[:=]? ?(?P<value>(?:0x)?[\da-fA-F]{3,16})$"),
            _pairs,
            gate=literal + "[ =:/_]",
        )
        for literal in ("cap", "CAP")
    ),
    Format(
        "capabilities",
        "cap ecap",
        pattern(r"\bcap ecap\b"),
        _pairs,
        row=pattern(
            r"^(?P<name>\S{1,40}) (?P<cap>[\da-fA-F]{4,16}) (?P<ecap>[\da-fA-F]{1,16})(?: (?P<haw>\d{1,2}))?"
            r"(?: (?P<ver>[\da-fA-F]{1,2}))?$"
        ),
    ),
)
