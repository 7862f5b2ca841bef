"""`RemappingUnit`: one piece of DMA-remapping hardware, put together.

The unit is a state machine. It is handed memory, register accesses and requests; it answers. It runs nothing
by itself: descriptors are executed by `step`, endpoints time out when told to. It knows no operating system.

    unit = RemappingUnit(memory, Capabilities(MGAW=48))
    unit.write(0x20, root_table, 8)             # RTADDR
    unit.write(0x18, 1 << 30, 4)                # GCMD.SRTP
    unit.write(0x18, 1 << 31, 4)                # GCMD.TE
    unit.translate(Request(sid("00:03.0"), 0x1000))

Rules for the caller: one agent at a time. The hardware's own serialisation is the only one there is; a
driver's locks are the driver's business. Interleaving is explicit: `walk_steps` pauses before each memory
access.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from vtdkit.vtd.caches.device_tlb import Endpoint
from vtdkit.vtd.queue.ring import QueueStep
from vtdkit.vtd.requests import Fault, Kind, Request, Translation
from vtdkit.vtd.state import State
from vtdkit.vtd.walk import engine
from vtdkit.vtd.walk.job import Job, Steps
from vtdkit.vtd.walk.trace import Step, Walk

from . import commands

if TYPE_CHECKING:
    from vtdkit.vtd.walk.many import Addresses, Batch

MODES = ("legacy", "scalable", "reserved", "abort")


class RemappingUnit(State):
    """One unit: its `State`, and what it can be asked. Mutable; one agent at a time, no locks.

    `cached=False` leaves out every cache: each answer is then what memory says now. Raises BadCapabilities
    for a combination that no unit may have.
    """

    # registers

    def read(self, offset: int, size: int = 4) -> int:
        """Read a register: `size` 4 or 8 bytes. Raises BadRegisterAccess for a shape no register takes."""
        return self.registers.read(offset, size)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        """Write a register and carry out what it sets off. Raises BadRegisterAccess."""
        self.registers.write(offset, value, size, partial(commands.written, self))

    def restore(self, registers: Mapping[str, int]) -> None:
        """Take over the state of a machine that was stopped: registers by name, as read at the stop."""
        for name, value in registers.items():
            if name in self.registers and name not in ("VER", "CAP", "ECAP"):
                self.registers[name] = value
        status, root = self.registers.entry("GSTS"), self.registers.entry("RTADDR")
        self.latch_root(root.RTA, root.TTM, root.SSIRWE)
        table = self.registers.entry("IRTA")
        self.latch_interrupts(table.IRTA, 2 << table.S, bool(table.EIME))
        self.translating = bool(status.TES)
        self.interrupts_remapped = bool(status.IRES)
        if status.QIES:
            self.queue.enable()

    # requests

    def translate(self, request: Request) -> Translation | Fault:
        """Answer a request as this unit would now, from its caches or from memory; faults are recorded."""
        return Job.finish(self._answer(request, stepped=False))

    def walk_steps(self, request: Request) -> Steps[Translation | Fault]:
        """`translate`, one memory access at a time: yields before each access, returns the answer at the
        end.
        """
        return self._answer(request, stepped=True)

    def _answer(self, request: Request, *, stepped: bool) -> Steps[Translation | Fault]:
        job = Job(self, request, self.caches, commit=True, trace=None, stepped=stepped)
        answer = yield from engine.answer(job)
        fault = answer if isinstance(answer, Fault) else answer.why
        if fault is not None and fault.recorded:
            self.faults.add(fault)
        return answer

    def from_memory(self, request: Request) -> Translation | Fault:
        """The answer from memory alone, without caches, records or flag updates."""
        return Job.finish(engine.answer(Job(self, request, None, commit=False, trace=None)))

    def walk(self, request: Request, *, cached: bool = False) -> Walk:
        """Every step of the way to an answer. Changes nothing; with `cached`, starts from what the caches
        hold.
        """
        steps: list[Step] = []
        caches = self.caches.copy() if cached and self.caches else None
        answer = Job.finish(engine.answer(Job(self, request, caches, commit=False, trace=steps)))
        return Walk(request, tuple(steps), answer)

    def translate_many(
        self, sid: int, iovas: Sequence[int] | Addresses, kind: Kind = "read", pasid: int | None = None
    ) -> Batch:
        """Answer a whole array of addresses of one source id from memory alone; see `many`. Needs numpy."""
        from vtdkit.vtd.walk.many import translate_many

        return translate_many(self, sid, iovas, kind, pasid)

    # invalidation

    def step(self) -> QueueStep | None:
        """Execute one invalidation descriptor. None when the queue is off, empty or stopped."""
        return self.queue.step()

    def attach_device_tlb(self, sid: int, *, prompt: bool = True) -> Endpoint:
        """Put an endpoint with a device TLB at `sid`. One that is not `prompt` answers invalidations when
        told to.
        """
        endpoint = Endpoint(self.translate, self.device_tlbs, sid, prompt=prompt)
        self.device_tlbs.endpoints[sid] = endpoint
        return endpoint

    def __repr__(self) -> str:
        state = f"on, {MODES[self.mode]} mode, root table {self.root_table:#x}" if self.translating else "off"
        return f"<RemappingUnit {state}{'' if self.caches else ', no caches'}>"
