"""`RemappingUnit`: one piece of hardware, put together in `unit.py`.

`commands` is what writing a register sets off, `hooks` what leaves the unit, `diagnostics` the notes about
software that breaks rules. Nothing below this room imports it."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "diagnostics": "Note",
        "hooks": "Hooks",
        "unit": "RemappingUnit",
    },
)
