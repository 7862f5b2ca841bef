"""The register file: where each register is, how its bits behave, what a write sets off."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "events": "Message",
        "file": "BadRegisterAccess",
    },
)
