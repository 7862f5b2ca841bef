"""Device TLBs: what endpoints with ATS remember, and the invalidation protocol that keeps them honest.

An `Endpoint` asks the unit for translations, keeps the answers, and uses them for translated requests. The
unit sends it invalidation requests under one of 32 ITags and waits for as many completions as the endpoint
says it will send. Nothing here runs by itself: an endpoint made with `prompt=False` answers when it is told
to, and a time-out happens when the caller says so (`DeviceTlbs.time_out`), so that every order of events can
be played.

The unit serialises every call; no locks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from vtdkit.vtd.requests import Fault, Kind, Request, Translation
from vtdkit.vtd.walk.ats import coded_range

from .caches import Lru

if TYPE_CHECKING:
    from vtdkit.vtd.state import State

ITAGS, TLB_ENTRIES = 32, 32


class InvalidationRequest(NamedTuple):
    """The message an endpoint gets. `pasid` None: requests without PASID; `everywhere`: all PASIDs (GI)."""

    itag: int
    low: int
    high: int
    pasid: int | None = None
    everywhere: bool = False


class Endpoint:
    """One device function with a device TLB."""

    def __init__(
        self,
        translate: Callable[[Request], Translation | Fault],
        tlbs: DeviceTlbs,
        sid: int,
        *,
        prompt: bool = True,
    ) -> None:
        self.translate = translate
        self.tlbs = tlbs
        self.sid = sid
        self.prompt = prompt
        self.tlb = Lru[Translation](TLB_ENTRIES)  # by PASID, first address, size
        self.inbox: list[InvalidationRequest] = []

    def access(self, address: int, kind: Kind = "read", pasid: int | None = None) -> Translation | Fault:
        """What a driver's DMA becomes: use the TLB, or ask; then send the translated request.

        Where the translation does not allow the access, or may not be used as one (U=1), the request goes out
        untranslated and remapping decides.
        """
        held = self.find(address, pasid)
        answer = held or self.translate(Request(self.sid, address & ~0xFFF, "read", "translation", pasid))
        if isinstance(answer, Fault):
            return answer
        memory = answer.completion is not None and not answer.completion.U
        if memory and held is None and (answer.readable or answer.writable):
            self.tlb.put((pasid, address & -answer.size, answer.size), answer)
        if not memory or not (answer.writable if kind in ("write", "atomic") else answer.readable):
            return self.translate(Request(self.sid, address, kind, pasid=pasid))
        target = answer.address & -answer.size | address & answer.size - 1
        return self.translate(Request(self.sid, target, kind, "translated"))

    def find(self, address: int, pasid: int | None = None) -> Translation | None:
        """What the TLB holds for `address`."""
        return next((held for key, held in self.tlb.items() if _hit(key, address, address + 1, pasid)), None)

    def receive(self, request: InvalidationRequest) -> None:
        """An invalidation arrives: obeyed at once, or kept in the inbox until `respond`."""
        self.inbox.append(request)
        if self.prompt:
            self.respond()

    def respond(self) -> None:
        """Obey the oldest invalidation in the inbox and send its completion."""
        if self.inbox:
            request = self.inbox.pop(0)
            self.tlb.drop(
                lambda key, _: _hit(
                    key, request.low, request.high, key[0] if request.everywhere else request.pasid
                )
            )
            self.tlbs.completed(self.sid, 1 << request.itag, count=1)


def _hit(key: tuple[int | None, int, int], low: int, high: int, pasid: int | None) -> bool:
    """Whether an entry of a device TLB is of that PASID, and of an address in that range."""
    return key[0] == pasid and key[1] < high and key[1] + key[2] > low


class DeviceTlbs:
    """The endpoints of one unit and the ITags that are in use."""

    def __init__(self, unit: State) -> None:
        self.unit = unit
        self.endpoints: dict[int, Endpoint] = {}
        self._pending: dict[int, tuple[int, int]] = {}  # ITag: source id, answers so far

    @property
    def outstanding(self) -> frozenset[int]:
        """The ITags that wait for an endpoint."""
        return frozenset(self._pending)

    def send(
        self, sid: int, address: int, s: int, *, pasid: int | None = None, everywhere: bool = False
    ) -> bool:
        """Send an invalidation; returns whether it is still outstanding. Nobody answers for an absent
        endpoint.
        """
        itag = next(i for i in range(ITAGS) if i not in self._pending)
        self._pending[itag] = sid, 0
        low, high = coded_range(address, s)
        endpoint = self.endpoints.get(sid)
        if endpoint:
            endpoint.receive(InvalidationRequest(itag, low, high, pasid, everywhere))
        elif self.unit.quirks.device_tlb_at_once:
            self.completed(sid, 1 << itag, count=1)
        return itag in self._pending

    def completed(self, sid: int, itags: int, count: int) -> None:
        """A completion message: a vector of ITags, each done after `count` such messages (0 means 8)."""
        for itag in (tag for tag in range(ITAGS) if itags >> tag & 1):
            asked, answers = self._pending.get(itag, (None, 0))
            if asked == sid:
                self._pending[itag] = sid, answers + 1
                if answers + 1 == (count or 8):  # a field of 3 bits: 0 stands for 8
                    del self._pending[itag]
            elif not self.unit.quirks.silent_queue_error:
                self._error("ICE", sid)  # nobody waits for it
        self.unit.queue.settle()

    def time_out(self) -> int | None:
        """The oldest outstanding invalidation was not answered in time. Returns its source id, None if there
        is none.
        """
        if not self._pending:
            return None
        sid, _ = self._pending.pop(next(iter(self._pending)))  # the oldest: dictionaries keep their order
        self._error("ITE", sid)
        self.unit.queue.waits.clear()  # software has to submit what waited again
        return sid

    def _error(self, name: str, sid: int) -> None:
        """ICE or ITE: IQERCD keeps the source id of the first until software clears the bit."""
        registers = self.unit.registers
        if not registers.field("FSTS", name):
            registers.set_field("IQERCD", f"{name}SID", sid)
        self.unit.faults.raise_status(name)
