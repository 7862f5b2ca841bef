"""What leaves a remapping unit, other than answers: messages and status writes.

An owner that wants them delivered subclasses `Hooks` and overrides what it cares about. As they are, the
hooks only keep a record, which is what tests and lessons want.
"""

from __future__ import annotations

from vtdkit.vtd.registers.events import Message


class Hooks:
    """The outgoing side of one unit. Called by the unit, in the order things happen; no locks."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.status_writes: list[tuple[int, int]] = []

    def message(self, message: Message) -> None:
        """An event message (MSI) of the unit itself."""
        self.messages.append(message)

    def status_write(self, address: int, data: int) -> None:
        """A wait descriptor completed: 32 bits of `data` go to `address`, coherently and before any
        interrupt.
        """
        self.status_writes.append((address, data))

    def doorbell(self) -> None:
        """Software moved the tail of the invalidation queue, or cleared the error that had stopped it: there
        may be something to `step`.
        """
