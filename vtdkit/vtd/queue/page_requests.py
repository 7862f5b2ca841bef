"""Page requests: a device asks software for a page, software answers with a group response.

Mirrors page request services of the VT-d specification, rev 5.10. A request is checked as far as the PASID
table entry; if that fails the device is told "invalid request" (or nothing, when the request is not the last
of its group). Otherwise what is cached for the page is invalidated and a descriptor goes to the page request
queue in memory. When that is full, PRO is set and the device is told "success", which makes it try again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vtdkit.vtd.caches import invalidate
from vtdkit.vtd.memory import AccessError
from vtdkit.vtd.plain import shown
from vtdkit.vtd.registers.events import Event
from vtdkit.vtd.requests import Fault, PageRequest, Request, Translation
from vtdkit.vtd.tables.descriptors import PAGE_REQUEST
from vtdkit.vtd.tables.layout import Entry
from vtdkit.vtd.walk import scalable
from vtdkit.vtd.walk.engine import root_table_register
from vtdkit.vtd.walk.job import Job, Refused, Steps
from vtdkit.vtd.walk.space import Space

if TYPE_CHECKING:
    from vtdkit.vtd.unit.unit import RemappingUnit

_SLOT = 32


@dataclass(frozen=True, slots=True)
class PageResponse:
    """A page group response on its way to a device. `code` is success, invalid request or failure."""

    sid: int
    pasid: int | None
    prgi: int
    code: str

    __repr__ = shown


@dataclass(frozen=True, slots=True)
class PageRequestAnswer:
    """What became of a page request: queued for software, or answered by the unit itself (or dropped)."""

    queued: bool
    response: PageResponse | None = None
    fault: Fault | None = None


class PageRequestQueue:
    """The page request queue of one unit. The unit serialises every call; no locks."""

    def __init__(self, unit: RemappingUnit, event: Event) -> None:
        self.unit = unit
        self.event = event

    @property
    def slots(self) -> int:
        return 128 << self.unit.registers.field("PQA", "PQS")

    def submit(self, request: PageRequest) -> PageRequestAnswer:
        """A device's page request arrives."""
        answer = self.unit.finish(self._check(request))
        if isinstance(answer, Fault):
            self.unit.log_fault(answer)
            return self._answered(request, "invalid request", answer)
        self._forget(request, answer)
        registers = self.unit.registers
        if registers.field("PRS", "PRO") or self._full() or not self._write(request):
            return self._overflow(request)
        registers["PQT"] = (registers["PQT"] + _SLOT) % (self.slots * _SLOT)
        quiet = not registers.field("PRS", "PPR")
        registers.set_field("PRS", "PPR", 1)
        if quiet:
            self.event.fire()
        return PageRequestAnswer(queued=True)

    def _check(self, request: PageRequest) -> Steps[Space | Translation | Fault]:
        inner = Request(
            request.sid,
            request.address & ~0xFFF,
            pasid=request.pasid,
            supervisor=request.supervisor and request.pasid is not None,
            execute=request.execute and request.pasid is not None,
        )
        job = Job(self.unit, inner, self.unit.caches, commit=True, trace=None)
        job.page_request = True
        try:
            if not self.unit.translating:
                job.refuse("TES")
            root_table_register(job)
            context = yield from scalable.context(job)
            entry = yield from scalable.pasid_entry(job, context)
        except Refused as refusal:
            return job.fault(refusal.label)
        return scalable.space_of(job, entry, context)

    def _forget(self, request: PageRequest, space: Space | Translation) -> None:
        """The implicit invalidation: by page, or for nested translation the whole domain."""
        caches = self.unit.caches
        if caches is None or not isinstance(space, Space):
            return
        page = request.address & ~0xFFF
        if space.path == "FS":
            assert space.tag is not None
            invalidate.piotlb_page(caches, space.did, space.tag, page, 0, keep_structures=False)
        elif space.path == "NEST":
            invalidate.iotlb_domain(caches, space.did)
        else:
            invalidate.iotlb_page(caches, space.did, page, 0, keep_structures=False)

    def _full(self) -> bool:
        registers = self.unit.registers
        return (registers["PQT"] + _SLOT) % (self.slots * _SLOT) == registers["PQH"]

    def _write(self, request: PageRequest) -> bool:
        raw = PAGE_REQUEST.encode(
            TYPE=1,
            PP=int(request.pasid is not None),
            RID=request.sid,
            PASID=request.pasid or 0,
            EXR=int(request.execute),
            PMR=int(request.supervisor),
            RDR=int(request.read),
            WRR=int(request.write),
            LPIG=int(request.lpig),
            PRGI=request.prgi,
            ADDR=request.address & ~0xFFF,
        )
        registers = self.unit.registers
        slot = (registers["PQA"] & ~0xFFF) + registers["PQT"]
        try:
            for i, word in enumerate(PAGE_REQUEST.words(raw)):
                self.unit.memory.write64(slot + 8 * i, word)
        except AccessError:
            return False
        return True

    def _overflow(self, request: PageRequest) -> PageRequestAnswer:
        registers = self.unit.registers
        quiet = not (registers.field("PRS", "PRO") or registers.field("PRS", "PPR"))
        registers.set_field("PRS", "PRO", 1)
        if quiet:
            self.event.fire()
        return self._answered(request, "success")

    def _answered(self, request: PageRequest, code: str, fault: Fault | None = None) -> PageRequestAnswer:
        """A response by the unit itself; a request that is not the last of its group gets none."""
        if not request.lpig:
            return PageRequestAnswer(False, None, fault)
        response = PageResponse(request.sid, request.pasid, request.prgi, code)
        self.unit.hooks.page_response(response)
        return PageRequestAnswer(False, response, fault)

    def respond(self, entry: Entry) -> None:
        """Software's group response, from the invalidation queue, goes to the device."""
        codes = {0: "success", 1: "invalid request"}
        pasid = entry.PASID if entry.PP else None
        self.unit.hooks.page_response(
            PageResponse(entry.RID, pasid, entry.PRGI, codes.get(entry.RC, "failure"))
        )

    def written(self) -> None:
        """Software wrote PRS: a pending message is dropped when nothing is pending any more."""
        if not self.unit.registers.field("PRS", "PPR") and not self.unit.registers.field("PRS", "PRO"):
            self.event.acknowledged()
