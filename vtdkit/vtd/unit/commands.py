"""What writing a register sets off.

`written` is called by the register file after each dword that hit a register. Commands take effect at once:
software that polls the status bit finds it as it wants it. Mirrors the command and status handshakes of the
VT-d specification, rev 5.10 (chapter 11, Global Command and Global Status Register).

Software must change one field of GCMD at a time. When several change in one write they take effect in the
order SRTP, TE, QIE, SIRTP, IRE; the specification leaves that open. WBF needs no work: nothing here buffers
a write, so WBFS is 0 whenever it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vtdkit.vtd.caches import invalidate
from vtdkit.vtd.caches.invalidate import DOMAIN, GLOBAL
from vtdkit.vtd.registers.register_map import FSTS, GCMD, IVA
from vtdkit.vtd.state import State

Reaction = Callable[[State, int, int], None]
_PAGE = 3
_START = 1 << 63  # ICC of CCMD, IVT of IOTLB


def written(unit: State, name: str, old: int, value: int) -> None:
    """Register `name` held `old` and software wrote `value` (shifted into place, one dword)."""
    reaction = _REACTIONS.get(name)
    if reaction:
        reaction(unit, old, value)
    elif name.startswith("FRCD"):
        unit.faults.written()


def _global_command(unit: State, old: int, value: int) -> None:
    command = GCMD.decode(value)
    for name, status, act in _COMMANDS:
        # With a status bit it is a level, and does something when it differs; without one, a one-shot.
        if command[name] != (unit.registers.field("GSTS", status) if status else 0):
            act(unit, bool(command[name]))


def _set_root_pointer(unit: State, on: bool) -> None:
    entry = unit.registers.entry("RTADDR")
    mode = entry.TTM & unit.capabilities.SMTS if unit.quirks.mode_is_one_bit else entry.TTM
    unit.latch_root(entry.RTA, mode, entry.SSIRWE)
    unit.registers.set_field("GSTS", "RTPS", 1)
    # Without ESRTPS whatever was cached under the old root stays until software invalidates it.
    if unit.caches and unit.capabilities.ESRTPS:
        unit.caches.clear()


def _translation(unit: State, on: bool) -> None:
    unit.registers.set_field("GSTS", "TES", int(on))
    unit.translating = on
    # Units with scalable mode drop their caches when translation goes off; older ones keep them.
    if not on and unit.caches and unit.capabilities.SMTS:
        unit.caches.clear()
    _restart_records(unit)


def _restart_records(unit: State) -> None:
    if not unit.translating and (not unit.interrupts_remapped or unit.quirks.index_restarts_early):
        unit.faults.index = 0  # fault recording begins at record 0 again


def _queue(unit: State, on: bool) -> None:
    queue = unit.queue
    refused = not on and unit.quirks.disable_needs_wait and not queue.last_was_wait
    if refused or not unit.capabilities.QI:
        return
    if on:
        queue.enable()
    else:
        queue.disable()
    unit.registers.set_field("GSTS", "QIES", int(on))


def _set_interrupt_pointer(unit: State, on: bool) -> None:
    if unit.capabilities.IR:
        entry = unit.registers.entry("IRTA")
        unit.latch_interrupts(entry.IRTA, 2 << entry.S, bool(entry.EIME))
        unit.registers.set_field("GSTS", "IRTPS", 1)
        if unit.capabilities.ESIRTPS:
            unit.interrupt_cache.clear()


def _interrupts(unit: State, on: bool) -> None:
    if unit.capabilities.IR:
        unit.interrupts_remapped = on
        unit.registers.set_field("GSTS", "IRES", int(on))
        _restart_records(unit)


_COMMANDS: tuple[tuple[str, str, Callable[[State, bool], None]], ...] = (
    ("SRTP", "", _set_root_pointer),
    ("TE", "TES", _translation),
    ("QIE", "QIES", _queue),
    ("SIRTP", "", _set_interrupt_pointer),
    ("IRE", "IRES", _interrupts),
)


def _invalidation(
    register: str, start: str, done: str, act: Callable[[State], int], unit: State, old: int, value: int
) -> None:
    """A command register: software sets `start`, which is cleared when all is over; `done` then tells the
    granularity done.
    """
    stuck = unit.queue.enabled and unit.quirks.commands_stick
    if stuck or not value & _START:
        return
    # By register only in legacy mode, and from major version 6 on not at all: granularity 0 says so.
    rejected = unit.mode != 0 or unit.capabilities.major >= 6
    unit.registers.set_field(register, done, 0 if rejected else act(unit))
    unit.registers.set_field(register, start, 0)


def _invalidate_context(unit: State) -> int:
    """Do what CCMD asks; returns the granularity done, 0 when it is rejected."""
    command = unit.registers.entry("CCMD")
    granularity = GLOBAL if command.CIRG == DOMAIN and unit.quirks.domain_is_global else command.CIRG
    if granularity:
        did = command.DID & unit.capabilities.did_mask
        invalidate.context(unit.caches, granularity, did, command.SID, command.FM)
    return granularity


def _invalidate_iotlb(unit: State) -> int:
    """Do what the IOTLB register asks; returns the granularity done, 0 when it is rejected."""
    command, address = unit.registers.entry("IOTLB"), IVA.decode(unit.registers["IVA"])
    caps, granularity = unit.capabilities, command.IIRG
    if granularity == 0 or (granularity == _PAGE and address.AM > caps.MAMV):
        return 0
    # A unit that cannot invalidate by page does the whole domain, and says so in IAIG.
    if granularity == _PAGE and not caps.PSI:
        granularity = DOMAIN
    did, page = command.DID & caps.did_mask, address.ADDR & (1 << caps.MGAW) - 1
    invalidate.iotlb(unit.caches, granularity, did, page, address.AM, keep_structures=bool(address.IH))
    return granularity


def _fault_status(unit: State, old: int, value: int) -> None:
    before, after = FSTS.decode(old), unit.registers.entry("FSTS")
    unit.faults.written()
    if before.IQE and not after.IQE:
        # Fetching goes on at the head, unless a personality waits for the tail to move.
        unit.queue.halted = unit.quirks.resume_by_tail
    if (before.IQE or before.ITE) and not (after.IQE or after.ITE):
        unit.hooks.doorbell()


def _tail(unit: State, old: int, value: int) -> None:
    unit.queue.halted = False
    unit.hooks.doorbell()


def _queue_address(unit: State, old: int, value: int) -> None:
    """The queue's base does not move while it is on."""
    if unit.queue.enabled:
        unit.registers["IQA"] = old


def _completion_status(unit: State, old: int, value: int) -> None:
    if not unit.registers["ICS"]:
        unit.invalidation_event.acknowledged()


def _protected_memory(unit: State, old: int, value: int) -> None:
    unit.registers.set_field("PMEN", "PRS", unit.registers.field("PMEN", "EPM"))


def _region(name: str, unit: State, old: int, value: int) -> None:
    """Bounds of a protected region: low bits do not exist, and nothing changes while protection is on."""
    if unit.registers.field("PMEN", "PRS"):
        unit.registers[name] = old
    unit.registers[name] &= -(1 << unit.capabilities.pmr_bits)


_REACTIONS: dict[str, Reaction] = {
    "GCMD": _global_command,
    "CCMD": partial(_invalidation, "CCMD", "ICC", "CAIG", _invalidate_context),
    "IOTLB": partial(_invalidation, "IOTLB", "IVT", "IAIG", _invalidate_iotlb),
    "FSTS": _fault_status,
    "FECTL": lambda unit, old, value: unit.fault_event.flush(),
    "IECTL": lambda unit, old, value: unit.invalidation_event.flush(),
    "IQT": _tail,
    "IQA": _queue_address,
    "ICS": _completion_status,
    "PMEN": _protected_memory,
    **{name: partial(_region, name) for name in ("PLMBASE", "PLMLIMIT", "PHMBASE", "PHMLIMIT")},
}
