"""What a machine said, explained: kernel logs, debugfs files, DMAR tables, registers, lock statistics.

    vtdkit explain dmesg.txt            # or `-`, or several files
    vtdkit.explain(text)                # in a notebook: cards, and the explorer on the machine rebuilt

- commandline.py  the verb
- reading.py      lines of any mixture, handed to who knows them; the caps
- lines.py        text of unknown origin made into lines
- formats.py      how a kind of text is declared: a new one is a row in the FORMATS of its module
- messages.py     what Linux says, and what that means (data): a new message is a row there
- causes.py       what usually causes which fault (data)
- boot.py         what is said at boot, queue errors
- faults.py       fault lines of every era
- dumps.py        the tables printed after a fault
- files.py        the driver's debugfs files
- firmware.py     the DMAR table in any form
- registers.py    capabilities of units, and how two differ
- splats.py       reports of lockdep, KASAN, watchdogs
- locks.py        lock_stat and perf lock
- machine.py      the tables in a text, made into a unit that can be asked
- report.py       what is told: pieces, as text, data, HTML
- picture.py      the locks of a real machine beside those of a simulated one

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
