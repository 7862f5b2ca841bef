"""What the hardware remembers, in the unit and in devices, and which invalidation hits what."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "device_tlb": "Endpoint",
    },
)
