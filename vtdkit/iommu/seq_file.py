"""`struct seq_file`: how a debugfs file is read (fs/seq_file.c).

The text goes into a buffer of one page. If it does not fit, the buffer is doubled and the whole `show` runs
again, locks and all; what it prints after the overflow is thrown away, and costs next to nothing. A text of
57 KB is so made five times: for 4, 8, 16, 32 and 64 KB.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any

from vtdkit.kernel.machine.machine import Machine

from .pinning import PAGE_SIZE


class SeqFile:
    """The text so far, and how large the buffer is, in bytes. Printing a line costs the printer time."""

    def __init__(self, machine: Machine, size: int = PAGE_SIZE) -> None:
        self.machine = machine
        self.size, self.count = size, 0
        self.overflow = False
        self.lines: list[str] = []

    async def printf(self, line: str = "") -> None:
        """`seq_printf`: one line."""
        if self.overflow:
            return
        await self.machine.work(self.machine.costs.seq_printf)
        self.count += len(line) + 1
        # `seq_has_overflowed`: a buffer that is just full may have lost something
        self.overflow = self.count >= self.size
        self.lines.append(line)

    def __str__(self) -> str:
        return "\n".join(self.lines)


def seq_file(
    show: Callable[[Any, SeqFile], Awaitable[None]],
) -> Callable[[Any], Coroutine[Any, Any, SeqFile]]:
    """Make a `show` function the reading of its file: it runs until its text fits."""

    @wraps(show)
    async def read(self: Any) -> SeqFile:
        m = SeqFile(self.machine)
        await show(self, m)
        while m.overflow:
            m = SeqFile(self.machine, 2 * m.size)
            await show(self, m)
        return m

    return read
