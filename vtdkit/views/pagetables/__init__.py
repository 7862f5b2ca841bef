"""The page-table explorer: of VT-d's tables (`widget`) and of other makers' (`backends`); `explorer` has what
both share.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "backends": "BackendExplorer",
        "widget": "PageTableExplorer",
    },
)
