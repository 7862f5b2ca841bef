"""What a machine said, explained: kernel logs, debugfs files, DMAR tables, registers, lock statistics.

    vtdkit explain dmesg.txt            # or `-`, or several files
    vtdkit.explain(text)                # in a notebook: cards, and the explorer on the machine rebuilt

commandline.py  the verb                                reading.py   lines of any mixture, handed to who
knows them lines.py        text of unknown origin made into lines  report.py    what is told: pieces, as
text, data, HTML faults.py       fault lines of every era                causes.py    what usually causes
which fault (data) dumps.py        the tables printed after a fault        machine.py   the tables in a text,
made into a unit debugfs.py      the tables of the driver's files        kernel.py    the registers, queues,
latencies of its files boot.py         what is said at boot, queue errors      messages.py  their texts and
meanings (data) splats.py       reports of lockdep, KASAN, watchdogs    locks.py     lock_stat and perf lock
firmware.py     the DMAR table in any form              registers.py capabilities of units, and how two
differ picture.py      the locks of a real machine beside those of a simulated one

A text is hostile: time is linear in its length, memory is bounded, what is quoted of it is cut at 80
characters. What a text does not show stays unknown; what had to be assumed is said.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__, {"reading": "explain", "report": "Explanation Piece", "machine": "Tables"}
)


class _Room(ModuleType):
    """The room itself can be called, so that `vtdkit.explain(text)` is all one has to know."""

    def __call__(self, text: Any, **options: Any) -> Any:
        return self.explain(text, **options)


sys.modules[__name__].__class__ = _Room
