"""`RemappingUnit`, one piece of hardware put together; what it can do; where emulators differ."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "capabilities": "BadCapabilities Capabilities",
        "diagnostics": "Note",
        "hooks": "Hooks",
        "quirks": "QEMU_10 QEMU_7_2 Quirks SPECIFICATION",
        "unit": "RemappingUnit",
    },
)
