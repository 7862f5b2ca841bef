"""A checker of the rule that callers of `iommu_map` and `iommu_unmap` promise to keep.

Nobody wrote the rule down in 2022; generic_pt's comments (iommu_pt.h, 2025) say it function by function: who
maps or unmaps, frees the domain, or changes the size of pages, must have the range of addresses for itself,
as if it held a lock on it to write; who looks an address up or reads dirty bits shares it with others that
only read::

    contract = Contract(pc.core)      # from here on each call is watched; before, nothing is paid

A finding is a pair of calls on ranges that overlap, at least one of them a writer, with *nothing that orders
them*: no lock, no thread that waited for the other. So one run finds it whether or not the two met in it, in
`simulate` and under `explore`. Without the checker `races` there are no clocks; then only calls that are
under way at the same time count.

What reads a table without going through the core, debugfs for instance, is not seen here: `watch` says so
for one more function.

Guards: nothing; its list changes only between two steps of a machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from sys import _getframe
from types import FrameType
from typing import Any

from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.record.sites import ANYWHERE, Spot

from .core import IommuCore

KIND = "contract: calls on one range that nothing orders"
ALL = 1 << 64
Span = Callable[..., tuple[int, int]]  # what a call is about: first address, bytes


@dataclass(slots=True)
class Call:
    """One call on a range of addresses. `ended`: the caller's count when it was over, None until then."""

    what: str
    writes: bool
    first: int
    last: int
    context: Context
    place: Spot
    ended: int | None = None

    def meets(self, other: Call) -> bool:
        """May the two not run side by side?"""
        return self.first <= other.last and other.first <= self.last and (self.writes or other.writes)

    def covers(self, other: Call) -> bool:
        """Does whoever meets the other one meet this one too?"""
        return self.first <= other.first and other.last <= self.last and self.writes >= other.writes

    def __repr__(self) -> str:
        last = "the end" if self.last == ALL - 1 else f"{self.last:#x}"
        return f"{self.what} of {self.first:#x} to {last} by {self.context.name}"


class Contract:
    """Watches one core. `calls` are, for each domain, those that later calls may have to come after."""

    def __init__(self, core: IommuCore) -> None:
        self.machine = core.machine
        self.calls: dict[Any, list[Call]] = {}
        self.watch(core, "_iommu_map", "map", lambda domain, iova, paddr, size, *_: (iova, size))
        self.watch(core, "iommu_unmap_fast", "unmap", lambda domain, iova, size, *_: (iova, size))
        self.watch(core, "iommu_domain_free", "free", lambda domain: (0, ALL))
        self.watch(core, "iommu_iova_to_phys", "look-up", lambda domain, iova: (iova, 1), writes=False)

    def watch(self, thing: Any, name: str, what: str, span: Span, writes: bool = True) -> None:
        """Watch `thing.name(domain, ...)`; `span` says from the arguments what range a call is about."""
        function = getattr(thing, name)

        @wraps(function)
        async def watched(domain: Any, *args: Any) -> Any:
            place = caller(_getframe(1)) or ANYWHERE.spot(getattr(function, "func", function).__code__, 0)
            call = self.begin(domain, what, writes, *span(domain, *args), place)
            try:
                return await function(domain, *args)
            finally:
                self.end(call)

        setattr(thing, name, watched)

    def begin(self, domain: Any, what: str, writes: bool, first: int, size: int, place: Spot) -> Call:
        """A call begins: is it ordered after all that it must not meet?"""
        context = self.machine.sched.current
        call = Call(what, writes, first, first + size - 1, context, place)
        keep = [call]
        for other in self.calls.get(domain, ()):
            before = self.before(other, context)
            if not before and call.meets(other):
                self.report(domain, call, other)
            if not (before and call.covers(other)):
                keep.append(other)
        self.calls[domain] = keep
        return call

    def end(self, call: Call) -> None:
        """A call is over."""
        order = self.machine.check.order
        call.ended = order.clock(call.context)[call.context.id] if order.on else 0

    def before(self, other: Call, context: Context) -> bool:
        """Is a call over, and does `context` come after it? A context comes after its own calls."""
        if other.context is context:
            return True
        order = self.machine.check.order
        return other.ended is not None and (
            not order.on or order.clock(context).get(other.context.id, 0) >= other.ended
        )

    def report(self, domain: Any, call: Call, other: Call) -> None:
        """One more finding."""
        self.machine.check.report(
            KIND,
            f"{' and '.join(sorted((call.what, other.what)))}, {domain!r}",
            (call.place, other.place),
            contexts=(other.context.name,),
            text=f"{call!r}, at the same time as or after {other!r}, and nothing orders the two",
        )


def caller(frame: FrameType | None) -> Spot | None:
    """Where a function of the core was called: the innermost place outside of it. In a thread that does
    nothing else, the core's own function, if it is one.
    """
    place = None
    while frame is not None and frame.f_code.co_filename.endswith(("iommu/core.py", "iommu/contract.py")):
        place, frame = frame, frame.f_back
    if frame is not None and "/vtdkit/kernel/" not in frame.f_code.co_filename.replace("\\", "/"):
        place = frame
    inside = place is None or place.f_code.co_filename.endswith("iommu/contract.py")
    return None if inside or place is None else ANYWHERE.at(place)
