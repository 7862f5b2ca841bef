"""What all widgets share: the base class, records, HTML, colours, JavaScript and style."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "base": "Widget",
        "record": "BadRecord",
    },
)
