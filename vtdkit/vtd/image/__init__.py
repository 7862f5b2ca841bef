"""The tables of a real machine: loading a folder, surveying what is mapped, comparing
with what was observed.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "check": "check_folder",
        "image": "BadImage Image",
        "memory": "ImageMemory",
        "npz": "BadFile",
        "oracle": "Oracle",
        "stale": "explain StaleEntry",
        "survey": "MappedRange Survey",
    },
)
