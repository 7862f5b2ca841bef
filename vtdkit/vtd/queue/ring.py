"""The invalidation queue: a ring of descriptors in memory, executed one per `step`.

Mirrors queued invalidation in the VT-d specification, rev 5.10. Software writes descriptors and moves the
tail; the unit fetches at the head, checks, moves the head past, executes. Errors stop it:

    IQE  something is wrong with the queue or a descriptor: the head stays on it until software clears IQE
    ITE  an endpoint did not answer a device-TLB invalidation: pending waits are dropped, nothing is fetched
    ICE  a completion nobody waits for: noted, nothing stops

What software can read about the cause is in IQERCD. Descriptors run in order, so a fence (FN) matters only
while a device TLB has not answered: a wait without FN is then left pending and later descriptors are executed
past it.

The order of the checks of one descriptor: width of the queue, tail, fetch, type, reserved bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from vtdkit.vtd.caches.device_tlb import ITAGS
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.memory import AccessError, read_words
from vtdkit.vtd.quirks import Quirks
from vtdkit.vtd.registers.register_map import FSTS
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.tables.layout import Entry

from . import execute
from .execute import Outcome

if TYPE_CHECKING:
    from vtdkit.vtd.state import State

# IQERCD.IQEI: what was wrong.
NO_INFO, INVALID_TAIL, FETCH_ERROR, INVALID_TYPE, RESERVED_FIELD, BAD_WIDTH, TAIL_UNALIGNED, INVALID_MODE = (
    range(8)
)
_STOPPING = FSTS.mask("IQE", "ITE")
_WAIT_FIELDS = descriptors.INV_WAIT.picker("SW", "ADDR", "DATA", "IF")
_IN_UNIT, _IN_QUEUE, _TO_DEVICE = range(3)  # where a descriptor is executed
_PLACES = {
    descriptors.INV_WAIT: _IN_QUEUE,
    descriptors.DEV_TLB_INV: _TO_DEVICE,
    descriptors.P_DEV_TLB_INV: _TO_DEVICE,
}


class QueueStep(NamedTuple):
    """What one `step` did. `slot` is where in the ring; `descriptor` is None when none was read.

    done      executed (a wait: completed)
    pending   a wait that is left for later, or an invalidation sent to an endpoint
    blocked   nothing was fetched: a fence is pending, or no ITag is free
    error     IQE was set; `cause` is the IQEI value
    """

    slot: int
    descriptor: Entry | None
    outcome: Outcome
    cause: int = 0
    note: str = ""

    @property
    def executed(self) -> bool:
        return self.outcome in ("done", "pending")


class QueueError(Exception):
    """A descriptor or register that stops the queue, with its IQEI value. Used inside this module."""

    def __init__(self, cause: int, note: str, entry: Entry | None = None) -> None:
        super().__init__(note)
        self.cause, self.note, self.entry = cause, note, entry


class InvalidationQueue:
    """The queue of one unit. Everything is private to the unit, which serialises calls; no locks."""

    def __init__(self, unit: State) -> None:
        self.unit = unit
        self.base = 0
        self.enabled = False
        self.halted = False
        self.waits: list[tuple[Entry, frozenset[int]]] = []  # each with the ITags it waits for
        self.last_was_wait = True
        self._registers = unit.registers
        self._read_words: Callable[[int, int], int] = getattr(
            unit.memory, "read_words", partial(read_words, unit.memory)
        )
        # Rings see the same few descriptors again and again: one that passed every check is known.
        self._checked = lru_cache(4096)(self._check)

    @property
    def slot_bytes(self) -> int:
        """IQA.DW: descriptors of 256 bits, or of 128."""
        wide, unit = self._registers["IQA"] >> 11 & 1, self.unit
        return 32 if wide and (unit.capabilities.SMTS or not unit.quirks.width_needs_scalable) else 16

    @property
    def slots(self) -> int:
        """How many descriptors the ring of 2^QS pages holds; one less may be outstanding."""
        return (4096 << (self._registers["IQA"] & 7)) // self.slot_bytes

    @property
    def fetching(self) -> bool:
        """Whether there is a descriptor to fetch, and no error in the way."""
        registers = self._registers
        return (
            self.enabled
            and registers["IQH"] != registers["IQT"]
            and not self.halted
            and not registers["FSTS"] & _STOPPING
            and not (self.unit.quirks.odd_tail_ignored and registers["IQT"] % self.slot_bytes)
        )

    def enable(self) -> None:
        """QIE went on: the address is latched, so that a later write of IQA does not move the queue."""
        self.base = self._registers["IQA"] & ~0xFFF
        self.enabled, self.halted, self.last_was_wait = True, False, True

    def disable(self) -> None:
        self.enabled = False
        self.waits.clear()
        self._registers["IQH"] = 0

    def step(self) -> QueueStep | None:
        """Fetch and execute one descriptor. None when there is nothing to do or an error has stopped the
        queue.
        """
        if not self.fetching:
            return None
        unit, registers, size = self.unit, self._registers, self.slot_bytes
        head, entry = registers["IQH"], None
        # A fence holds back what comes after it only while some endpoint has yet to answer.
        if self.waits and any(wait.FN for wait, _ in self.waits):
            return QueueStep(head // size, None, "blocked", 0, "a fence waits for a device TLB")
        try:
            self._check_registers(size)
            try:
                raw = self._read_words(self.base + head, size >> 3)
            except AccessError as error:
                raise QueueError(FETCH_ERROR, f"descriptor cannot be read: {error}") from None
            entry, place, run = self._checked(raw, size, unit.mode)
        except QueueError as error:
            return self._fail(head // size, error)
        if place == _TO_DEVICE and len(unit.device_tlbs.outstanding) == ITAGS:
            return QueueStep(head // size, entry, "blocked", 0, "all 32 ITags are in use")
        # From here on the descriptor is executed; one that cannot be leaves the head where it is (IQE).
        registers["IQH"] = (head + size) % (size * self.slots)
        self.last_was_wait = place == _IN_QUEUE
        return QueueStep(head // size, entry, self._wait(entry) if place == _IN_QUEUE else run(unit, entry))

    def _check_registers(self, size: int) -> None:
        unit, caps, tail = self.unit, self.unit.capabilities, self._registers["IQT"]
        if unit.mode == 2:
            raise QueueError(INVALID_MODE, "TTM is reserved")
        if size == 16 and unit.mode != 0 and not unit.quirks.narrow_queue_everywhere:
            raise QueueError(BAD_WIDTH, "scalable and abort mode need 256-bit descriptors")
        if size == 32 and not (caps.SMTS or caps.ADMS):
            raise QueueError(BAD_WIDTH, "256-bit descriptors need SMTS or ADMS")
        if tail % size:
            raise QueueError(TAIL_UNALIGNED, f"tail {tail:#x} is not aligned to a descriptor")
        if tail >= size * self.slots:
            raise QueueError(INVALID_TAIL, f"tail {tail:#x} is beyond the queue")

    def _check(self, raw: int, size: int, mode: int) -> tuple[Entry, int, Callable[[State, Entry], Outcome]]:
        """The descriptor `raw`, where it is executed and by what, if nothing is wrong with it."""
        caps, quirks = self.unit.capabilities, self.unit.quirks
        if quirks.short_type and raw & 0xF in (4, 6, 7):
            raw &= ~0xE00
        kind = descriptors.TYPES.get(descriptors.type_of(raw))
        entry = kind.layout.decode(raw) if kind else None
        missing = kind is None or (kind.needs and not getattr(caps, kind.needs))
        missing = missing or (quirks.short_type and raw & 0xF > 7)
        wrong_queue = kind is not None and kind.wide and not (size == 32 and mode in (1, 3))
        if kind is None or entry is None or missing or (wrong_queue and not quirks.narrow_queue_everywhere):
            raise QueueError(INVALID_TYPE, f"descriptor type {descriptors.type_of(raw):X}h", entry)
        layout = kind.layout
        if not (kind.unchecked and getattr(quirks, kind.unchecked)):
            looked_at = raw & (1 << 128) - 1 if quirks.upper_half_unchecked else raw
            reserved = looked_at & (layout.reserved_mask(caps.environment) | -1 << layout.width)
            odd = (
                f"reserved bits {reserved:#x} set" if reserved else _value_problem(entry, kind, caps, quirks)
            )
            if odd:
                raise QueueError(RESERVED_FIELD, odd, entry)
        place = _PLACES.get(layout, _IN_UNIT)
        return entry, place, execute.EXECUTORS.get(layout.name, execute.nothing)

    def _fail(self, index: int, error: QueueError) -> QueueStep:
        unit = self.unit
        cause = NO_INFO if unit.quirks.silent_queue_error else error.cause
        unit.registers.set_field("IQERCD", "IQEI", cause)
        self.halted = True  # until software clears IQE (or moves the tail, in QEMU)
        unit.faults.raise_status("IQE")
        return QueueStep(index, error.entry, "error", cause, error.note)

    def _wait(self, entry: Entry) -> Outcome:
        self.waits.append((entry, self.unit.device_tlbs.outstanding))
        self.settle()
        return "pending" if self.waits else "done"

    def settle(self) -> None:
        """Complete the waits whose endpoints have all answered, oldest first. Called after each answer."""
        while self.waits and not self.waits[0][1] & self.unit.device_tlbs.outstanding:
            self._complete(self.waits.pop(0)[0])

    def _complete(self, entry: Entry) -> None:
        unit = self.unit
        status, address, data, interrupt = _WAIT_FIELDS(entry.raw)
        if status:
            unit.hooks.status_write(address & unit.capabilities.host_limit - 1, data)
        # The status first: who gets the interrupt must find it. While IWC is set there is no second one.
        if interrupt and not unit.registers.field("ICS", "IWC"):
            unit.registers.set_field("ICS", "IWC", 1)
            unit.invalidation_event.fire()


def _value_problem(entry: Entry, kind: descriptors.DescriptorType, caps: Capabilities, quirks: Quirks) -> str:
    """A field whose bits are legal but whose value is not. Reported like a reserved field."""
    layout = entry.structure
    if kind.granularities and entry.G not in kind.granularities:
        return f"granularity {entry.G}"
    if layout in (descriptors.IOTLB_INV, descriptors.P_IOTLB_INV) and entry.G == 3:
        if not caps.PSI and layout is descriptors.IOTLB_INV:
            return "page granularity without PSI"
        if entry.AM > caps.MAMV:
            return f"address mask {entry.AM} beyond MAMV {caps.MAMV}"
    idle = layout is descriptors.INV_WAIT and not (entry.IF or entry.SW or entry.FN)
    return "a wait that does nothing" if idle and quirks.empty_wait_is_error else ""
