"""`RemappingUnit`: one piece of hardware, put together. Nothing below this room imports it.

unit.py      what it is made of, and everything it can be asked
commands.py  what writing a register sets off
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "unit": "RemappingUnit",
    },
)
