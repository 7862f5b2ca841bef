"""What all widgets share.

`base` is the class they are made from and `record` what it may hold; `sheet` and `html` draw stills;
`palette` has the colours, `bundle` puts JavaScript and style together. In the browser: `common.js`,
`common.css`.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "base": "Widget",
        "record": "BadRecord",
    },
)
