"""The page-table explorer."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "widget": "PageTableExplorer",
    },
)
