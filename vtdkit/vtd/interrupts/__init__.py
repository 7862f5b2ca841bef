"""Interrupt remapping.

    remapping.py  what becomes of a request to FEEx_xxxx: an interrupt that is looked up in the remapping
                  table, or something that has no business there

The layouts, posted format included, are in `tables/interrupts.py`; the interrupt entry cache in
`caches/caches.py`.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "remapping": "NotModelled",
    },
)
