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
from dataclasses import dataclass
from functools import partial

from vtdkit.vtd.memory import AccessError, read_words
from vtdkit.vtd.state import Queued
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.tables.layout import Entry, Structure

from . import execute
from .execute import Outcome

# IQERCD.IQEI: what was wrong.
NO_INFO, INVALID_TAIL, FETCH_ERROR, INVALID_TYPE, RESERVED_FIELD, BAD_WIDTH, TAIL_UNALIGNED, INVALID_MODE = (
    range(8)
)
_SLOTS_PER_PAGE = 256
_REMEMBERED = 4096
_WAIT_FIELDS = descriptors.INV_WAIT.picker("SW", "ADDR", "DATA", "IF")
_TO_DEVICES = frozenset((descriptors.DEV_TLB_INV.name, descriptors.P_DEV_TLB_INV.name))
_IN_UNIT, _IN_QUEUE, _TO_DEVICE = range(3)  # where a descriptor is executed
_Known = tuple[Entry, int, Callable[[Queued, Entry], Outcome]]


@dataclass(frozen=True, slots=True)
class QueueStep:
    """What one `step` did. `index` is the slot; `descriptor` is None when none was read.

    done      executed (a wait: completed)
    pending   a wait that is left for later, or an invalidation sent to an endpoint
    blocked   nothing was fetched: a fence is pending, or no ITag is free
    error     IQE was set; `cause` is the IQEI value
    """

    index: int
    descriptor: Entry | None
    outcome: Outcome
    cause: int = 0
    note: str = ""

    def __repr__(self) -> str:
        what = "nothing" if self.descriptor is None else repr(self.descriptor)
        return f"<QueueStep {self.index}: {what} {self.outcome}{': ' + self.note if self.note else ''}>"


@dataclass(slots=True)
class Wait:
    """A wait descriptor that waits for endpoints: the ITags it waits for."""

    index: int
    entry: Entry
    tags: frozenset[int]


class QueueError(Exception):
    """A descriptor or register that stops the queue, with its IQEI value. Used inside this module."""

    def __init__(self, cause: int, note: str, entry: Entry | None = None) -> None:
        super().__init__(note)
        self.cause, self.note, self.entry = cause, note, entry


class InvalidationQueue:
    """The queue of one unit. Everything is private to the unit, which serialises calls; no locks."""

    def __init__(self, unit: Queued) -> None:
        self.unit = unit
        self.base = 0
        self.enabled = False
        self.halted = False
        self.waits: list[Wait] = []
        self.last_was_wait = True
        self.last: Entry | None = None
        # why nothing was executed: descriptor, IQEI value, in words
        self._found: tuple[Entry | None, int, str] = (None, 0, "")
        self._stopping = unit.registers.mask("FSTS", "IQE", "ITE")
        self._registers = unit.registers.values
        self._read_words: Callable[[int, int], int] = getattr(
            unit.memory, "read_words", partial(read_words, unit.memory)
        )
        # Descriptors that passed every check in one mode and width, by raw value: rings see the same few
        # again and again.
        self._known: dict[int, _Known] = {}
        self._known_in = (0, 0)
        self._reserved: dict[str, int] = {}  # bits that must be 0, by the name of the layout
        # the address register, and what follows from it: bytes of a slot and of the ring
        self._shaped = (-1, 0, 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Bytes of a slot and of the ring: as many pages, whatever the width of a descriptor."""
        registers = self.unit.registers
        address, slot, ring = self._shaped
        if address != registers.values["IQA"]:
            slot = 32 if registers.field("IQA", "DW") else 16
            ring = _SLOTS_PER_PAGE * 16 << registers.field("IQA", "QS")
            self._shaped = registers.values["IQA"], slot, ring
        return slot, ring

    @property
    def slot_bytes(self) -> int:
        return self.shape[0]

    @property
    def slots(self) -> int:
        """How many descriptors the ring holds; one less may be outstanding."""
        slot, ring = self.shape
        return ring // slot

    @property
    def head(self) -> int:
        return self.unit.registers["IQH"]

    @property
    def tail(self) -> int:
        return self.unit.registers["IQT"]

    @property
    def fetching(self) -> bool:
        """Whether there is a descriptor to fetch, and no error in the way."""
        registers = self._registers
        return (
            self.enabled
            and registers["IQH"] != registers["IQT"]
            and not self.halted
            and not registers["FSTS"] & self._stopping
        )

    @property
    def idle(self) -> bool:
        """Whether there is nothing to fetch. Pending waits may still be outstanding."""
        registers = self.unit.registers.values
        return not self.enabled or registers["IQH"] == registers["IQT"]

    @property
    def stopped(self) -> bool:
        """Whether an error keeps the unit from fetching."""
        return self.halted or bool(self.unit.registers.values["FSTS"] & self._stopping)

    def enable(self) -> None:
        self.enabled = True
        self.halted = False
        self.last_was_wait = True

    def disable(self) -> None:
        self.enabled = False
        self.waits.clear()
        self.unit.registers["IQH"] = 0

    def tail_written(self) -> None:
        self.halted = False

    def error_cleared(self) -> None:
        """Software cleared IQE: fetching goes on at the head, unless a personality waits for the tail."""
        self.halted = self.unit.quirks.resume_by_tail

    def step(self) -> QueueStep | None:
        """Fetch and execute one descriptor. None when there is nothing to do or an error has stopped the
        queue.
        """
        index = self.head // self.slot_bytes
        outcome = self.execute_next()
        if outcome is None:
            return None
        if outcome in ("done", "pending"):
            return QueueStep(index, self.last, outcome)
        entry, cause, note = self._found
        return QueueStep(index, entry, outcome, cause, note)

    def execute_next(self) -> Outcome | None:
        """`step` for whoever has no use for a record of it."""
        if not self.fetching:
            return None
        unit, registers = self.unit, self._registers
        head, tail = registers["IQH"], registers["IQT"]
        address, size, ring = self._shaped
        if address != registers["IQA"]:
            size, ring = self.shape
        # A fence holds back what comes after it only while some endpoint has yet to answer.
        if self.waits and any(wait.entry.FN for wait in self.waits):
            return self._blocked(None, "a fence waits for a device TLB")
        try:
            # Registers are checked anew when something about them may have changed since the last descriptor.
            if self._known_in != (unit.mode, size) or tail % size or tail >= ring:
                self._check_registers(size == 32, tail, ring)
            entry, place, run = self._fetch(self.base + head, size)
            if place == _TO_DEVICE and not unit.device_tlbs.free:
                return self._blocked(entry, "all 32 ITags are in use")
        except QueueError as error:
            return self._fail(error)
        # From here on the descriptor is executed; one that cannot be leaves the head where it is (IQE).
        registers["IQH"] = (head + size) % ring
        self.last, self.last_was_wait = entry, place == _IN_QUEUE
        return self._wait(head // size, entry) if place == _IN_QUEUE else run(unit, entry)

    def _fetch(self, address: int, size: int) -> _Known:
        try:
            raw = self._read_words(address, size >> 3)
        except AccessError as error:
            raise QueueError(FETCH_ERROR, f"descriptor cannot be read: {error}") from None
        known = self._known.get(raw)
        return (
            known
            if known is not None and self._known_in == (self.unit.mode, size)
            else self._checked(raw, size)
        )

    def _checked(self, raw: int, size: int) -> _Known:
        """The descriptor, if nothing is wrong with it."""
        if (self.unit.mode, size) != self._known_in or len(self._known) >= _REMEMBERED:
            self._known.clear()
            self._known_in = self.unit.mode, size
        entry = descriptors.decode(raw)
        self._check_type(raw, entry)
        assert entry is not None
        self._check_fields(raw, entry)
        kind = entry.structure
        place = (
            _IN_QUEUE
            if kind is descriptors.INV_WAIT
            else _TO_DEVICE
            if kind.name in _TO_DEVICES
            else _IN_UNIT
        )
        known = self._known[raw] = entry, place, execute.EXECUTORS.get(kind.name, execute.nothing)
        return known

    def _check_registers(self, wide: bool, tail: int, ring: int) -> None:
        unit, caps = self.unit, self.unit.capabilities
        if unit.mode == 2:
            raise QueueError(INVALID_MODE, "TTM is reserved")
        if not wide and unit.mode != 0 and not unit.quirks.narrow_queue_everywhere:
            raise QueueError(BAD_WIDTH, "scalable and abort mode need 256-bit descriptors")
        if wide and not (caps.SMTS or caps.ADMS):
            raise QueueError(BAD_WIDTH, "256-bit descriptors need SMTS or ADMS")
        if tail % (32 if wide else 16):
            raise QueueError(TAIL_UNALIGNED, f"tail {tail:#x} is not aligned to a descriptor")
        if tail >= ring:
            raise QueueError(INVALID_TAIL, f"tail {tail:#x} is beyond the queue")

    def _check_type(self, raw: int, entry: Entry | None) -> None:
        kind = descriptors.TYPES.get(descriptors.type_of(raw))
        caps, unit = self.unit.capabilities, self.unit
        missing = kind is None or (bool(kind.needs) and not getattr(caps, kind.needs))
        wrong_queue = kind is not None and kind.wide and not (self.slot_bytes == 32 and unit.mode in (1, 3))
        if missing or (wrong_queue and not unit.quirks.narrow_queue_everywhere):
            raise QueueError(INVALID_TYPE, f"descriptor type {descriptors.type_of(raw):X}h", entry)

    def _check_fields(self, raw: int, entry: Entry) -> None:
        kind = entry.structure
        if kind in self._unchecked:
            return
        mask = self._reserved.get(kind.name, -1)
        if mask < 0:
            mask = self._reserved[kind.name] = kind.reserved_mask(self.unit.capabilities.environment)
        if self.unit.quirks.upper_half_unchecked:
            raw &= (1 << 128) - 1
        if raw & mask or raw >> kind.width:
            raise QueueError(RESERVED_FIELD, f"reserved bits {raw & mask:#x} set", entry)
        problem = _value_problem(entry, self.unit)
        if problem:
            raise QueueError(RESERVED_FIELD, problem, entry)

    @property
    def _unchecked(self) -> tuple[Structure, ...]:
        """The descriptors that a personality takes as they are."""
        quirks = self.unit.quirks
        return (
            *((descriptors.PC_INV,) if quirks.pasid_cache_unchecked else ()),
            *((descriptors.IEC_INV, descriptors.P_IOTLB_INV) if quirks.entry_cache_unchecked else ()),
        )

    def _blocked(self, entry: Entry | None, note: str) -> Outcome:
        self._found = entry, 0, note
        return "blocked"

    def _fail(self, error: QueueError) -> Outcome:
        unit = self.unit
        cause = NO_INFO if unit.quirks.silent_queue_error else error.cause
        unit.registers.set_field("IQERCD", "IQEI", cause)
        self.halted = True  # until software clears IQE (or moves the tail, in QEMU)
        unit.faults.raise_status("IQE")
        self._found = error.entry, cause, error.note
        return "error"

    def _wait(self, index: int, entry: Entry) -> Outcome:
        devices = self.unit.device_tlbs
        if devices.outstanding or self.waits:
            self.waits.append(Wait(index, entry, devices.outstanding))
            return "pending"
        self._complete(entry)
        return "done"

    def settle(self) -> None:
        """Complete the waits whose endpoints have all answered, oldest first. Called after each answer."""
        while self.waits and not self.waits[0].tags & self.unit.device_tlbs.outstanding:
            self._complete(self.waits.pop(0).entry)

    def abort_waits(self) -> None:
        """A time-out: pending waits are dropped; software has to submit them again."""
        self.waits.clear()

    def _complete(self, entry: Entry) -> None:
        unit = self.unit
        status, address, data, interrupt = _WAIT_FIELDS(entry.raw)
        if status:
            unit.hooks.status_write(address & unit.capabilities.host_limit - 1, data)
        # The status first: who gets the interrupt must find it. While IWC is set there is no second one.
        if interrupt and not unit.registers.field("ICS", "IWC"):
            unit.registers.set_field("ICS", "IWC", 1)
            unit.invalidation_event.fire()


def _value_problem(entry: Entry, unit: Queued) -> str:
    """A field whose bits are legal but whose value is not. Reported like a reserved field."""
    layout, caps = entry.structure, unit.capabilities
    if (layout is descriptors.CC_INV or layout is descriptors.IOTLB_INV) and entry.G == 0:
        return "granularity 0"
    if layout is descriptors.P_IOTLB_INV and entry.G < 2:
        return f"granularity {entry.G}"
    if layout is descriptors.PC_INV and entry.G == 2:
        return "granularity 2"
    if layout is descriptors.HPT_INV and entry.G == 0:
        return "granularity 0"
    if (layout is descriptors.IOTLB_INV or layout is descriptors.P_IOTLB_INV) and entry.G == 3:
        if not caps.PSI and layout is descriptors.IOTLB_INV:
            return "page granularity without PSI"
        if entry.AM > caps.MAMV:
            return f"address mask {entry.AM} beyond MAMV {caps.MAMV}"
    if (
        layout is descriptors.INV_WAIT
        and not (entry.IF or entry.SW or entry.FN)
        and unit.quirks.empty_wait_is_error
    ):
        return "a wait that does nothing"
    return ""
