"""Error numbers, as Linux has them; a driver function returns 0 or a negative one of these."""

from __future__ import annotations

EPERM = 1
ENOENT = 2
EIO = 5
EAGAIN = 11
ENOMEM = 12
EFAULT = 14
EBUSY = 16
EEXIST = 17
ENODEV = 19
EINVAL = 22
ENOSPC = 28
ERANGE = 34
EADDRINUSE = 98
