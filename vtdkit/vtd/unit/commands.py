"""What writing a register sets off.

`written` is called by the register file after each dword that hit a register. Commands take effect at once,
or, with `Capabilities.deferred`, when the owner calls `unit.tick`: until then the status bit that software
polls stays as it was. Mirrors the command and status handshakes of the VT-d specification, rev 5.10.

Software must change one field of GCMD at a time. When several change in one write they take effect in the
order SRTP, TE, WBF, QIE, SIRTP, IRE; the specification leaves that open, and a note is kept (see
`diagnostics`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from vtdkit.vtd.caches import invalidate
from vtdkit.vtd.caches.invalidate import DOMAIN, GLOBAL
from vtdkit.vtd.queue.ring import InvalidationQueue
from vtdkit.vtd.registers.events import Event
from vtdkit.vtd.registers.register_map import CCMD, FSTS, GCMD, IOTLB, IVA
from vtdkit.vtd.state import Queued

from .diagnostics import Diagnostics
from .hooks import Hooks


class Commanded(Queued, Protocol):
    """The unit as its commands see it: they may change everything that is in force."""

    fault_event: Event
    queue: InvalidationQueue
    hooks: Hooks
    diagnostics: Diagnostics

    def latch_root(self, table: int, mode: int, ssirwe: int) -> None: ...
    def latch_interrupts(self, table: int, entries: int, extended: bool) -> None: ...
    def maybe_restart_fault_index(self) -> None: ...
    def defer(self, action: Callable[[], None]) -> None: ...


Reaction = Callable[[Commanded, int, int], None]
_PAGE = 3
_LEVELS = (("TE", "TES"), ("QIE", "QIES"), ("IRE", "IRES"))


def written(unit: Commanded, name: str, old: int, value: int) -> None:
    """Register `name` held `old` and software wrote `value` (shifted into place, one dword)."""
    reaction = _REACTIONS.get(name)
    if reaction:
        reaction(unit, old, value)
    elif name.startswith("FRCD"):
        unit.faults.written()


def _global_command(unit: Commanded, old: int, value: int) -> None:
    registers = unit.registers
    command = GCMD.decode(value)
    changed = [c for c, s in _LEVELS if command[c] != registers.field("GSTS", s)]
    asked = [c for c in ("SRTP", "WBF", "SIRTP") if command[c]] + changed
    if len(asked) > 1:
        unit.diagnostics.note("several commands", f"GCMD {value:#010x} asks for {', '.join(asked)}")
    for name in ("SRTP", "TE", "WBF", "QIE", "SIRTP", "IRE"):
        if name in asked:
            _COMMANDS[name](unit, bool(command[name]))


def _set_root_pointer(unit: Commanded, on: bool) -> None:
    entry = unit.registers.entry("RTADDR")
    mode = entry.TTM & unit.capabilities.SMTS if unit.quirks.mode_is_one_bit else entry.TTM
    if unit.translating and unit.mode != mode and not unit.capabilities.ESRTPS:
        unit.diagnostics.note("mode changed while on", f"TTM {unit.mode} to {mode}")
    # RTPS goes 0 and, when the pointer is in force, 1: that is what software polls for.
    unit.registers.set_field("GSTS", "RTPS", 0)

    def latch() -> None:
        unit.latch_root(entry.RTA, mode, entry.SSIRWE)
        unit.registers.set_field("GSTS", "RTPS", 1)
        if unit.caches and unit.capabilities.ESRTPS:
            unit.caches.clear()
        # Without ESRTPS whatever was cached under the old root stays until software invalidates it.
        elif unit.caches and len(unit.caches.iotlb):
            unit.diagnostics.note(
                "stale caches after SRTP", f"{len(unit.caches.iotlb)} translations still cached"
            )

    unit.defer(latch)


def _translation(unit: Commanded, on: bool) -> None:
    if on and not unit.registers.field("GSTS", "RTPS"):
        unit.diagnostics.note("TE without SRTP", "the root table pointer was never set")
        if unit.capabilities.refuse_enable_without_pointer:
            return

    def switch() -> None:
        unit.registers.set_field("GSTS", "TES", int(on))
        unit.translating = on
        # Units with scalable mode drop their caches when translation goes off; older ones keep them.
        if not on and unit.caches and unit.capabilities.SMTS:
            unit.caches.clear()
        unit.maybe_restart_fault_index()

    unit.defer(switch)


def _flush_write_buffer(unit: Commanded, on: bool) -> None:
    if unit.capabilities.RWBF:
        unit.registers.set_field("GSTS", "WBFS", 1)
        unit.defer(lambda: unit.registers.set_field("GSTS", "WBFS", 0))


def _queue(unit: Commanded, on: bool) -> None:
    queue = unit.queue
    if not unit.capabilities.QI:
        return
    if on and unit.registers["IQT"]:
        unit.diagnostics.note("queue enabled with a tail", f"IQT {unit.registers['IQT']:#x}")
    if not on:
        if not queue.last_was_wait and unit.quirks.disable_needs_wait:
            return
        if not queue.idle or not queue.last_was_wait:
            unit.diagnostics.note("queue disabled while busy", f"head {queue.head:#x}, tail {queue.tail:#x}")

    def switch() -> None:
        if on:
            # Latched here: a later write of IQA does not move a queue that is on.
            queue.base = unit.registers["IQA"] & ~0xFFF
            queue.enable()
        else:
            queue.disable()
        unit.registers.set_field("GSTS", "QIES", int(on))

    unit.defer(switch)


def _set_interrupt_pointer(unit: Commanded, on: bool) -> None:
    if not unit.capabilities.IR:
        return
    entry = unit.registers.entry("IRTA")
    unit.registers.set_field("GSTS", "IRTPS", 0)

    def latch() -> None:
        unit.latch_interrupts(entry.IRTA, 2 << entry.S, bool(entry.EIME))
        unit.registers.set_field("GSTS", "IRTPS", 1)
        if unit.capabilities.ESIRTPS:
            unit.interrupt_cache.drop(lambda e: True)

    unit.defer(latch)


def _interrupts(unit: Commanded, on: bool) -> None:
    if not unit.capabilities.IR:
        return
    if on and not unit.registers.field("GSTS", "IRTPS"):
        unit.diagnostics.note("IRE without SIRTP", "the interrupt table pointer was never set")
        if unit.capabilities.refuse_enable_without_pointer:
            return

    def switch() -> None:
        unit.interrupts_remapped = on
        unit.registers.set_field("GSTS", "IRES", int(on))
        unit.maybe_restart_fault_index()

    unit.defer(switch)


_COMMANDS: dict[str, Callable[[Commanded, bool], None]] = {
    "SRTP": _set_root_pointer,
    "TE": _translation,
    "WBF": _flush_write_buffer,
    "QIE": _queue,
    "SIRTP": _set_interrupt_pointer,
    "IRE": _interrupts,
}


def _by_register(unit: Commanded) -> bool:
    """Whether a command register may act; while the queue is on, software must not use them."""
    if unit.queue.enabled:
        unit.diagnostics.note("register command with the queue on", "QIES=1")
        return not unit.quirks.commands_stick
    return True


def _context_command(unit: Commanded, old: int, value: int) -> None:
    if not CCMD.decode(value).ICC or not _by_register(unit):
        return

    def run() -> None:
        unit.registers.set_field("CCMD", "CAIG", _invalidate_context(unit))
        unit.registers.set_field("CCMD", "ICC", 0)

    unit.defer(run)


def _invalidate_context(unit: Commanded) -> int:
    """Do what CCMD asks; returns the granularity done, 0 when it is rejected."""
    command = unit.registers.entry("CCMD")
    # By register only in legacy mode, and from major version 6 on not at all: CAIG=0 says so.
    if unit.mode != 0 or unit.capabilities.major >= 6 or command.CIRG == 0:
        return 0
    granularity = GLOBAL if command.CIRG == DOMAIN and unit.quirks.domain_is_global else command.CIRG
    did = command.DID & unit.capabilities.did_mask
    invalidate.context(unit.caches, granularity, did, command.SID, command.FM)
    return granularity


def _iotlb_command(unit: Commanded, old: int, value: int) -> None:
    if not IOTLB.decode(value).IVT or not _by_register(unit):
        return

    def run() -> None:
        unit.registers.set_field("IOTLB", "IAIG", _invalidate_iotlb(unit))
        unit.registers.set_field("IOTLB", "IVT", 0)

    unit.defer(run)


def _invalidate_iotlb(unit: Commanded) -> int:
    """Do what the IOTLB register asks; returns the granularity done, 0 when it is rejected."""
    command, address = unit.registers.entry("IOTLB"), IVA.decode(unit.registers["IVA"])
    caps, granularity = unit.capabilities, command.IIRG
    did = command.DID & caps.did_mask
    if unit.mode != 0 or caps.major >= 6 or granularity == 0:
        return 0
    if granularity == _PAGE and address.AM > caps.MAMV:
        return 0
    # A unit that cannot invalidate by page does the whole domain, and says so in IAIG.
    if granularity == _PAGE and not caps.PSI:
        granularity = DOMAIN
    unit.diagnostics.domain_invalidated(None if granularity == GLOBAL else did)
    page = address.ADDR & (1 << caps.MGAW) - 1
    invalidate.iotlb(unit.caches, granularity, did, page, address.AM, keep_structures=bool(address.IH))
    return granularity


def _fault_status(unit: Commanded, old: int, value: int) -> None:
    before, after = FSTS.decode(old), unit.registers.entry("FSTS")
    unit.faults.written()
    if before.IQE and not after.IQE:
        unit.queue.error_cleared()
    if (before.IQE or before.ITE) and not (after.IQE or after.ITE):
        unit.hooks.doorbell()


def _tail(unit: Commanded, old: int, value: int) -> None:
    unit.queue.tail_written()
    unit.hooks.doorbell()


def _queue_address(unit: Commanded, old: int, value: int) -> None:
    """The queue's base does not move while it is on."""
    if unit.queue.enabled:
        unit.registers["IQA"] = old


def _completion_status(unit: Commanded, old: int, value: int) -> None:
    if not unit.registers["ICS"]:
        unit.invalidation_event.acknowledged()


def _protected_memory(unit: Commanded, old: int, value: int) -> None:
    on = unit.registers.field("PMEN", "EPM")
    unit.defer(lambda: unit.registers.set_field("PMEN", "PRS", on))


def _region(name: str) -> Reaction:
    """Bounds of a protected region: low bits do not exist, and nothing changes while protection is on."""

    def react(unit: Commanded, old: int, value: int) -> None:
        if unit.registers.field("PMEN", "PRS"):
            unit.registers[name] = old
        unit.registers[name] &= -(1 << unit.capabilities.pmr_bits)

    return react


_REACTIONS: dict[str, Reaction] = {
    "GCMD": _global_command,
    "CCMD": _context_command,
    "IOTLB": _iotlb_command,
    "FSTS": _fault_status,
    "FECTL": lambda unit, old, value: unit.fault_event.flush(),
    "IECTL": lambda unit, old, value: unit.invalidation_event.flush(),
    "IQT": _tail,
    "IQA": _queue_address,
    "ICS": _completion_status,
    "PMEN": _protected_memory,
    **{name: _region(name) for name in ("PLMBASE", "PLMLIMIT", "PHMBASE", "PHMLIMIT")},
}
