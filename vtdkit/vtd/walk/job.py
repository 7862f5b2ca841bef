"""One request on its way through the tables.

A `Job` carries what the steps of a translation share: the request, the unit, what has been learnt so far
(FPD, PASID), and, if somebody is watching, the trace. The steps themselves are generator functions in
`legacy`, `scalable` and `stage`. A job that is `stepped` yields an `Access` *before*
every memory access, so that another agent may run between two accesses of one walk; any other runs to its end
without a pause, which is three times as fast. A condition of the fault tables ends the walk by raising
`Refused` with its label.

An entry of 128 bits or less is read in one access, as hardware does; larger ones in several, lowest first, so
a torn read can happen there and only there.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from vtdkit.vtd.faults.reasons import REASONS
from vtdkit.vtd.memory import AccessError
from vtdkit.vtd.quirks import reported_code
from vtdkit.vtd.requests import Completion, Fault, Request, Translation
from vtdkit.vtd.tables.layout import Structure

from .trace import Step

if TYPE_CHECKING:
    from vtdkit.vtd.caches.caches import Caches
    from vtdkit.vtd.state import State

T = TypeVar("T")


class Access(NamedTuple):
    """A memory access about to happen: the kind of entry, its physical address, read or update."""

    what: str
    address: int
    update: bool = False


Steps = Generator[Access, None, T]


class Refused(Exception):
    """The walk ended at the condition `label`."""

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.label = label


class NotModelled(Exception):
    """A legal thing that this model decodes but does not carry out. The text says what it was."""


class Job:
    """Mutable; used for one request and thrown away. No locks: one agent."""

    __slots__ = (
        "caches",
        "commit",
        "end",
        "fpd",
        "inner",
        "pasid",
        "path",
        "request",
        "rules",
        "stepped",
        "supervisor",
        "trace",
        "translation_request",
        "unit",
    )

    def __init__(
        self,
        unit: State,
        request: Request,
        caches: Caches | None,
        *,
        commit: bool,
        trace: list[Step] | None,
        stepped: bool = False,
    ) -> None:
        self.unit = unit
        self.request = request
        self.rules = unit.rules
        self.caches = caches
        self.commit = commit
        self.trace = trace
        self.stepped = stepped
        self.fpd = False
        self.inner = False
        self.path = ""
        self.pasid = request.pasid
        self.end = request.address + (request.length or 1)  # a zero-length read still names a byte
        self.translation_request = request.at == "translation"
        self.supervisor = request.supervisor

    @property
    def wants_write(self) -> bool:
        """Whether the answer may be used to write, so that dirty flags must be set before it is given."""
        unless = self.request.no_write and self.rules.caps.NWFS
        return not unless if self.translation_request else self.request.writes

    @staticmethod
    def finish(steps: Steps[T]) -> T:
        """Run steps to their end, whatever pauses they make."""
        try:
            while True:
                next(steps)
        except StopIteration as end:
            value: T = end.value
            return value

    def mark(
        self, structure: Structure, address: int, index: int, raw: int, level: int = 0, source: str = "memory"
    ) -> None:
        """Put a step into the trace, if there is one."""
        if self.trace is not None:
            self.trace.append(Step(structure, address, index, raw, level, source, self.inner))

    def remark(self, text: str, *values: object) -> None:
        """Say of the last step why the walk went on: a format and what goes into it."""
        if self.trace:
            self.trace[-1] = replace(self.trace[-1], why=text.format(*values))

    def read(self, structure: Structure, address: int, index: int, label: str) -> Steps[int]:
        """Read a whole table entry, 128 bits an access. A failed access is the condition `label`."""
        raw = 0
        for offset in range(0, structure.width // 8, 16):
            if self.stepped:
                yield Access(structure.name, address + offset)
            raw |= self.load(structure, address, offset, index, label) << 8 * offset
        self.mark(structure, address, index, raw)
        return raw

    def load(self, structure: Structure, address: int, offset: int, index: int, label: str) -> int:
        """One access of at most 128 bits to an entry at `address`."""
        read64 = self.unit.memory.read64
        try:
            low = read64(address + offset)
            return low if structure.width == 64 else low | read64(address + offset + 8) << 64
        except AccessError:
            self.mark(structure, address, index, 0)
            self.refuse(label)

    def update(self, what: str, address: int, old: int, new: int, label: str) -> Steps[int]:
        """Set flags in an entry atomically; returns what was found there, `old` when it worked."""
        if not self.commit:
            return old
        if self.stepped:
            yield Access(what, address, update=True)
        try:
            return self.unit.memory.cmpxchg64(address, old, new)
        except AccessError:
            self.refuse(label)

    def insist(self, label: str) -> None:
        """End the walk at the condition `label`, if there is one."""
        if label:
            self.refuse(label)

    def refuse(self, label: str) -> NoReturn:
        if self.trace:
            self.trace[-1] = replace(self.trace[-1], label=label, why=REASONS[label].name)
        raise Refused(label)

    def fault(self, label: str, *, cached: bool = False) -> Translation | Fault:
        """What the requester gets for the condition `label`: a fault, or for ATS maybe an empty success."""
        reason, request = REASONS[label], self.request
        response = getattr(reason, request.at)
        empty_success = response in ("S0", "Seff")
        code = reported_code(
            *(self.rules.quirks, label, reason.code),
            write=request.writes,
            second_stage=self.path != "FS",
            scalable=self.rules.caps.SMTS,
        )
        # A success with no permission is recoverable, so it is not recorded (chapter 7), but for SFS.10.
        unheard = self.rules.quirks.interrupt_faults_silent and label.startswith("IR.")
        told = label == "SFS.10" if empty_success else not unheard
        recorded = reason.code is not None and told and not (self.fpd and self.silenced(label))
        fault = Fault(label, code, reason.name, response, recorded, request, self.pasid, cached)
        if not empty_success:
            return fault
        return Translation(
            *(request, 0, 4096, False, False, "refused", None, 0, 0, cached),
            completion=Completion(0, 0, PRIV=int(request.pasid is not None and request.supervisor)),
            why=fault,
        )

    def silenced(self, label: str) -> bool:
        """Whether an FPD bit that was seen keeps `label` out of the records."""
        quirks = self.rules.quirks
        spared = quirks.fpd_spares_not_code_b and label in ("LCT.3", "SCT.3")
        spared |= quirks.fpd_spares_not_pasid and label.startswith(("SPD.", "SPT."))
        return REASONS[label].qualified and not spared
