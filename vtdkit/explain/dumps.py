"""The tables that Linux prints after a fault (`dmar_fault_dump_ptes`): put into a unit, walked, compared.

Forms of 5.19 to 6.18. The dump says which unit and address, the fault line before it which device, PASID and
reason. The model walks the same entries; where its verdict is not the printed one, that is the finding: the
unit did not see what memory holds now."""

from __future__ import annotations

from collections.abc import Iterator

from vtdkit.vtd.requests import Fault, Request, size_name
from vtdkit.vtd.walk.job import NotModelled
from vtdkit.vtd.walk.trace import Step, Walk

from .faults import reason_code, request_of, who_of
from .formats import Format, Group, Row, Text, holding, number, pattern
from .machine import EVERYTHING, Tables
from .report import Piece


def _dump(group: Group, text: Text) -> Iterator[Piece]:
    rows = [row for _, row in group.rows[1:]]
    said = {name: value for row in reversed(rows) for name, value in row.items()}  # the first of each
    iova, unit = number(group.first["iova"]) & (1 << 64) - 1, group.first["unit"]
    request, code, who = Request(0, iova & ~0xFFF), None, "device not told"
    asked = request_of(group.fault) if group.fault else None
    if group.fault and asked and asked.address >> 12 == iova >> 12:
        request, code, who = asked, reason_code(group.fault), who_of(asked)
    tables = text.of(unit, scalable="directory" in said or "root_high" in said)
    _put(tables, rows, said, request, iova)
    title = f"{unit}, {who}, address {iova:#x}"
    try:
        walk, missing = tables.ask(request)
    except NotModelled as error:
        yield group.piece(title, notes=(f"the model cannot say: {error}",), lesson=4, count=1)
        return
    known = [step for step in walk.steps if step.address != missing]
    verdict, notes = _verdict(walk, missing, code, said.get("end", ""))
    notes += holding({
        "what this unit can do is not in the text: the model lets every bit pass that some unit has": (
            tables.capabilities is EVERYTHING
        ),
    })  # fmt: skip
    shown = [(step.kind.replace("scalable-mode ", "").replace(" entry", ""), _shown(step)) for step in known]
    decided = next((step for step in known if step.label), known[-1] if known else None)
    yield group.piece(
        title, *shown, ("verdict", verdict), lesson=4, count=1, notes=(*notes, *tables.assumed),
        checks=(walk.answer.label,) if isinstance(walk.answer, Fault) and missing is None else (),
        bits=(decided.structure.name, decided.raw) if decided else None,
    )  # fmt: skip


def _put(tables: Tables, rows: list[Row], said: Row, request: Request, iova: int) -> None:
    """The entries of a dump in their places."""
    tables.device, tables.pasid, tables.iova = request.sid, request.pasid, iova
    if "root" in said:
        tables.root_entry(request.sid >> 8, number(said["root"]), number(said.get("root_high", "0")))
    if "context" in said:
        low, high = number(said["context"]), number(said["context_high"])
        tables.context_entry(request.sid, low, high)
        if "directory" in said:
            words = [number(row["word"]) for row in rows if "word" in row][:8]
            pasid = high & 0xFFFFF if request.pasid is None else request.pasid
            tables.pasid_entry(low, pasid, tuple(words), number(said["directory"]))
            first_stage = len(words) > 2 and words[0] >> 6 & 7 in (1, 3)
            low = words[2] if first_stage else words[0] if words else 0
        entries = [number(row["pte"]) for row in rows if "pte" in row]
        tables.path(low & ~0xFFF, int(said.get("level", 0)), iova, entries)


def _shown(step: Step) -> str:
    raw = f"{step.raw & (1 << 64) - 1:#018x}"
    return f"{raw}  <- fails here, {step.label}: {step.why}" if step.label else f"{raw}  {step.why}"


def _verdict(walk: Walk, missing: int | None, code: int | None, end: str) -> tuple[str, list[str]]:
    """What the model says of the printed memory, and a sentence where the printed fault says otherwise."""
    answer, notes = walk.answer, [f"the kernel ended with: {end}"] if end else []
    if missing is not None:
        return f"unknown: the text does not show the entry at {missing:#x}", notes
    if isinstance(answer, Fault):
        verdict = f"refused with {answer.label}, code {answer.code or 0:02X}h"
        if code in (None, answer.code):
            return verdict + ("" if code is None else ", as printed"), notes
        return verdict, [
            f"the printed fault is {code:02X}h: the unit answered from other tables than these",
            *notes,
        ]
    told = (f"({answer.path}", answer.permissions, size_name(answer.size), f"DID {answer.did})")
    if code is not None:
        notes.insert(0, _STALE.format(code) + (_PASID_DIRECTORY if code == 0x51 else ""))
    notes += holding({
        "the entry is pass-through: there is no page table, and the kernel's last line means nothing": (
            answer.path == "pass-through" and "level" in end
        ),
    })  # fmt: skip
    return f"memory as printed translates: {answer.address:#x} {', '.join(told)}", notes


_STALE = (
    "the printed fault is {:02X}h and the printed memory allows the request: the unit answered from an "
    "entry that it had cached, or that had not yet been written back when it looked, or the tables were "
    "changed before they were printed. The change was not flushed in time."
)
_PASID_DIRECTORY = (
    " This is what Linux before 6.3 (194b3348bdbb; 6.2.y has it, too) did after it set a PASID directory "
    "entry on a unit whose walks are not coherent."
)

FORMATS = (
    Format(
        "table dump",
        "table entries for",
        pattern(r"Dump (?P<unit>[\w-]{1,24}) table entries for IOVA (?P<iova>HEX)"),
        _dump,
        row=pattern(
            r"root entry: (?:hi (?P<root_high>HEX), low )?(?P<root>HEX)|context entry: hi "
            r"(?P<context_high>HEX), low (?P<context>HEX)"
            r"|pasid dir entry: (?P<directory>HEX)|pasid table entry\[[0-7]\]: (?P<word>HEX)"
            r"|pte level: (?P<level>[1-5]), pte value: (?P<pte>HEX)"
            r"|(?P<end>(?:root|context|pasid|legacy|scalable|PTE|page)[\w ]{0,30} not present"
            r"(?: at level \d)?|no page table setup)"
        ),
        whole="IOVA 0x",
    ),
)
