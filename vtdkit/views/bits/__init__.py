"""The bit-field card: any register, table entry or descriptor, bit by bit.

`widget` is the class, `records` what the browser gets of a layout, `answers` asks a copy of the unit what
hardware makes of a value, `words` says what structures and abbreviations stand for; `layout` places bits, and
`still` draws them. In the browser: `bitfield.js` over `bits.js` (values taken apart) and `fields.js`.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "widget": "BitFieldCard",
    },
)
