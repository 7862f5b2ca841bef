"""Error numbers, as Linux has them; a driver function returns 0 or a negative one of these."""

from __future__ import annotations

EPERM = 1
ENOENT = 2
EINTR = 4
EIO = 5
EAGAIN = 11
ENOMEM = 12
EFAULT = 14
EBUSY = 16
EEXIST = 17
ENODEV = 19
EINVAL = 22
ENOSPC = 28
EADDRINUSE = 98
ETIMEDOUT = 110

_NAMES = {
    value: name for name, value in list(globals().items()) if name.startswith("E") and isinstance(value, int)
}


def errname(code: int) -> str:
    """`-EINVAL` for -22; "0" for success."""
    return str(code) if code >= 0 else f"-{_NAMES.get(-code, -code)}"
