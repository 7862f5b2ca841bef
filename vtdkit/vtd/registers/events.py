"""Event messages: how a unit interrupts a CPU about faults, invalidations and page requests.

All three kinds follow one rule set (VT-d specification, rev 5.10): an event fires only if no status bit of
its group was set before; firing sets IP, and if IM=0 the message goes out and IP clears; clearing IM while
IP=1 sends it; IP clears when software has cleared all status bits of the group. The messages themselves
bypass interrupt remapping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vtdkit.vtd.plain import shown

from .file import RegisterFile


@dataclass(frozen=True, slots=True)
class Message:
    """A message-signalled interrupt that left the unit. `source` says which event it was."""

    source: str
    address: int
    data: int

    __repr__ = shown


class Event:
    """One of the FE, IE and PE register groups. The unit that owns it serialises every call."""

    def __init__(
        self, registers: RegisterFile, prefix: str, source: str, send: Callable[[Message], None]
    ) -> None:
        self.registers = registers
        self.control = f"{prefix}CTL"
        self.prefix = prefix
        self.source = source
        self.send = send

    def fire(self) -> None:
        """A status bit of the group was set, the first one."""
        # Pending first, then sent if not masked: with IM=1 it waits in IP until software unmasks.
        self.registers.set_field(self.control, "IP", 1)
        self.flush()

    def flush(self) -> None:
        """Send the pending message if the mask allows it. Called when software writes the control
        register.
        """
        registers = self.registers
        if registers.field(self.control, "IP") and not registers.field(self.control, "IM"):
            registers.set_field(self.control, "IP", 0)
            address = registers[f"{self.prefix}UADDR"] << 32 | registers[f"{self.prefix}ADDR"]
            self.send(Message(self.source, address, registers[f"{self.prefix}DATA"]))

    def acknowledged(self) -> None:
        """Software cleared the last status bit of the group."""
        self.registers.set_field(self.control, "IP", 0)
