"""Address translation services: what a translation request is told.

A completion carries the effective permissions, the size of the page coded into the address, and a few flags.
Mirrors the translation-completion rules of the VT-d specification, rev 5.10, chapter 4.
"""

from __future__ import annotations

from vtdkit.vtd.requests import Completion, Translation

from .job import Job
from .rules import in_interrupt_range
from .space import Leaf, Space


def size_code(address: int, size: int) -> tuple[int, int]:
    """An address field and S bit that say "`size` bytes at `address`". `size` is a power of two, 4096 or
    more.

    S=0 is 4K. With S=1 the lowest zero bit from bit 12 up gives the size: bit 12 is 8K, bit 13 is 16K, and so
    on.
    """
    base = address & -size
    return (base, 0) if size == 4096 else (base | (size >> 1) - 1 & ~0xFFF, 1)


def coded_range(address: int, s: int) -> tuple[int, int]:
    """The range an address field with size bit `s` names: first address, first address after it."""
    page = address >> 12
    # Counting up from bit 12, the ones and the first zero: that many times the size doubles.
    size = min(4096 << (page ^ page + 1).bit_length(), 1 << 64) if s else 4096
    return address & -size, (address & -size) + size


def completed(job: Job, space: Space, leaf: Leaf, answer: Translation) -> Translation:
    """`answer` with the completion that goes to the device."""
    request = job.request
    if space.path == "PT":
        answer = _largest_region(job, answer)
    writable = answer.writable and job.wants_write
    address, s = size_code(answer.address, answer.size)
    completion = Completion(
        R=int(answer.readable),
        W=int(writable),
        S=s,
        # whether the device must clear No-Snoop in requests with this translation
        N=int(leaf.snoop or space.pgsnp),
        PRIV=int(request.pasid is not None and request.supervisor),
        address=address,
    )
    return answer._replace(writable=writable, completion=completion)


def _largest_region(job: Job, answer: Translation) -> Translation:
    """Pass-through: the largest aligned region there is a page size for, kept out of the interrupt range."""
    sizes = job.rules.caps.SSLPS
    for size, supported in ((1 << 30, sizes & 2), (1 << 21, sizes & 1)):
        base = answer.address & -size
        if supported and base + size <= job.rules.host_limit and not in_interrupt_range(base, base + size):
            return answer._replace(size=size)
    return answer


def interrupt_range(job: Job) -> Translation:
    """A translation request for FEEx_xxxx: no fault, but nothing a device could read or cache as memory."""
    request = job.request
    writable = job.wants_write
    write_only = Completion(0, 1, U=1, address=request.address & ~0xFFF)
    return Translation(
        *(request, request.address, 4096, False, writable, "interrupt window", None, 0, 0),
        completion=write_only if writable else Completion(0, 0),
    )
