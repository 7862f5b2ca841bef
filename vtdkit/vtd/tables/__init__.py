"""Every structure of bits that hardware and software share: how one is declared, and all of them.

layout.py       `Structure`, `Field`, `Entry`: one declaration from which come decoder, encoder, reserved
                bits and what a card shows
entries.py      root, context, PASID directory and PASID table entries
pages.py        first- and second-stage page-table entries, host permission tables
descriptors.py  invalidation descriptors, page requests
interrupts.py   interrupt remapping entries, remapped and posted, posted descriptors, MSI addresses
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "layout": "Entry Field Structure",
    },
)
