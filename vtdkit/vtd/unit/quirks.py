"""The old place of `vtdkit.vtd.quirks`."""

from vtdkit.vtd.quirks import (  # noqa: F401
    PERSONALITIES,
    QEMU_7_2,
    QEMU_10,
    SPECIFICATION,
    Quirks,
    qemu,
    reported_code,
    version_number,
    why,
)
