"""The tables of a real machine: loading a folder, surveying what is mapped, comparing
with what was observed.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "image": "BadImage Image",
        "memory": "ImageMemory",
        "npz": "BadFile",
        "stale": "explain Mapped stale_translations StaleEntry",
        "survey": "MappedRange Survey",
    },
)
