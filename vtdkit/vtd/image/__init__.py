"""The tables of a real machine, as a folder on disk.

image.py        `Image.load`: registers, pages and the DMAR table of a folder, made into a unit
npz.py          reading such files without trusting them
survey.py       which devices are attached and what they have mapped
inspect.py      the same as text, the way the kernel's debugfs files print it
stale.py        translations that the machine's IOTLB still held and its tables no longer
commandline.py  the verbs `inspect`, `quirks`, and `check`, whose comparisons are tests/reality_check
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "image": "BadImage Image",
        "npz": "BadFile",
        "stale": "explain Mapped stale_translations StaleEntry",
        "survey": "MappedRange Survey",
    },
)
