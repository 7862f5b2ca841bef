"""The registers: where each is, how its bits behave, how their events reach a CPU.

    capability.py    CAP, ECAP and VER, bit by bit, and which bit needs which other
    register_map.py  all the other layouts, and where in the window each stands
    file.py          storage, attributes of bits, accesses of 4 and 8 bytes
    events.py        the interrupts of the unit itself: pending, masked, sent

What writing a register sets off is in `unit/commands.py`.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "events": "Message",
        "file": "BadRegisterAccess",
    },
)
