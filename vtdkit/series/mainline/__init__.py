"""What mainline made of the series: eleven commits in 6.0-rc1, two fixes in 6.0-rc5."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "versions": "driver_at MERGED RC1 RC5 RELEASED SERIES",
    },
)
