"""What a machine writes down while it runs: kinds of event, and the recorder that collects them.

A running machine appends values; they are folded into one array for each column, 31 bytes an event in all.
A `Trace` (`trace.py`) is what is made of them at the end.
"""

from __future__ import annotations

from array import array
from struct import pack
from typing import Any

from .sites import NOWHERE, Site, Spot

KINDS = (
    "run",
    "sleep",
    "wake",
    "end",  # a thread gets its CPU, gives it up to wait, is woken, has ended
    "spin",
    "acquire",
    "release",  # a lock: starts waiting, has it, gave it up
    "irq_off",
    "irq_on",
    "irq_enter",
    "irq_exit",  # interrupts of this context; a handler on top of what ran
    "wait",
    "wait_end",  # busy wait on hardware
    "alloc",
    "free",  # pages
    "mark",  # a note somebody left; arg is its number
    "finding",  # a checker spoke up; arg is the finding's number
)
(
    RUN,
    SLEEP,
    WAKE,
    END,
    SPIN,
    ACQUIRE,
    RELEASE,
    IRQ_OFF,
    IRQ_ON,
    IRQ_ENTER,
    IRQ_EXIT,
    WAIT,
    WAIT_END,
    ALLOC,
    FREE,
    MARK,
    FOUND,
) = range(len(KINDS))

COLUMNS = ("time", "cpu", "context", "kind", "object", "site", "arg")
TYPES = ("q", "h", "i", "b", "i", "i", "q")  #: type code of each column's array
SITE, ARG = COLUMNS.index("site"), COLUMNS.index("arg")
Columns = tuple["array[int]", ...]


class Recorder:
    """Collects events of a running machine. `rows` is extended directly, by seven values for each: those
    of `COLUMNS`, in order.

    Seven values and no tuple of them: a million tuples would keep the garbage collector busy.
    """

    FOLD = 7 << 13

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.columns: Columns = tuple(array(code) for code in TYPES)
        self.sites: list[Site] = [NOWHERE]
        self._numbers: dict[Spot | None, int] = {None: 0}
        self._known: dict[Site, int] = {NOWHERE: 0}

    def fold(self) -> None:
        """Move the collected values into the columns, the places as numbers."""
        rows, width = self.rows, len(COLUMNS)
        count = len(rows) // width
        for number, column in enumerate(self.columns):
            values = rows[number::width]
            if number == SITE:
                values = self._numbered(values)
            # `pack` takes half the time that `extend` does; most events have no argument, so zeros it less
            zeros = number == ARG and not any(values)
            column.frombytes(bytes(8 * count) if zeros else pack(f"{count}{column.typecode}", *values))
        rows.clear()

    def _numbered(self, spots: list[Any]) -> list[int]:
        """The numbers of places; those not met before get one. Two spots of one line are one place."""
        for spot in dict.fromkeys(spots):
            if spot not in self._numbers:
                number = self._known.setdefault(spot.site, len(self.sites))
                if number == len(self.sites):
                    self.sites.append(spot.site)
                self._numbers[spot] = number
        return list(map(self._numbers.__getitem__, spots))

    def copy(self) -> Columns:
        """The columns as they stand, for a `Trace`."""
        self.fold()
        return tuple(column[:] for column in self.columns)
