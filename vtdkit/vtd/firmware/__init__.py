"""The ACPI table by which firmware tells which units there are."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "dmar": "BadDmar Dmar",
    },
)
