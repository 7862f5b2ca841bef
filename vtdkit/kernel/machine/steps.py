"""What is a step of its own only when every interleaving is explored (`machine.steps`).

On a machine that simulates, an access to a field takes no time and nobody gets in between; a device's memory
access takes what the costs say. The explorer has its own `Steps`, which stop the thread at each, and note who
touched what.
"""

from __future__ import annotations

from typing import Any

from .engine import DONE, FREE_LOOKS
from .host import Host


class Steps:
    """The places at which others may get in, beside those of locks and atomics. Await the answers at once."""

    exploring = False  #: is every interleaving tried here?

    def __init__(self, machine: Host) -> None:
        self.machine = machine

    def field(self, obj: Any, field: str, write: bool, words: str = "") -> Any:
        """A field of an object (its life, for "") is about to be accessed; `words` say so if that is part of
        more ("add to {}").
        """
        sched = self.machine.sched
        sched.mine(obj)
        return sched.work(1) if not write and sched.beat(FREE_LOOKS) else DONE

    def device(self, thing: Any, address: int | None) -> Any:
        """A device or walker is about to do its next memory access, at `address` (None: to
        look into its caches).
        """
        return DONE if address is None else self.machine.sched.work(self.machine.costs.walk_read)

    def register(self, thing: Any, offset: int, write: bool) -> Any:
        """Software is about to read or write a register of a piece of hardware."""
        return DONE

    def hardware(self, thing: Any) -> None:
        """The running step changes the state of a piece of hardware."""

    def memory(self, address: int) -> None:
        """The running step makes hardware write memory."""

    def accessed(self, obj: Any, field: str, write: bool) -> bool:
        """The running step accesses a watched field. True if that cannot race."""
        return False

    def swaps(self, lock: Any, *things: Any) -> None:
        """Sections of this lock change these things in a way that comes to the same in either order."""
