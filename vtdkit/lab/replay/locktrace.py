"""What a real guest's kernel waited for, while the trace of its mappings was taken.

`contention.csv.gz` is what the kernel's tracepoints `lock:contention_begin` and `contention_end` said, with
stacks. How often is worth comparing with a replay; how long is not: the guest's CPUs were emulated, and one
that held a lock could lose the real one. Some events have lost their stack.

Files are hostile until read: `maptrace` has the bounds, and `BadTrace` says which line is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .maptrace import BadTrace, lines_of

HEADER = "cpu,t_s,op,lock,flags_or_ret,stack"
LINE = 2000  # stacks are long
#: frames of the locks themselves: who waited is the one that called them
SLOW_PATHS = ("native_queued_", "_raw_", "rwsem_", "down_", "up_", "__mutex", "mutex_", "queued_")


@dataclass(frozen=True, slots=True)
class LockTrace:
    """`waits`: function that waited for a lock -> how often; `lost`: waits whose stack is not there."""

    name: str
    waits: Mapping[str, int]
    lost: int

    @staticmethod
    def load(folder: str | Path) -> LockTrace:
        """Read a `maps_*` folder's `contention.csv.gz`. Raises BadTrace."""
        path = Path(folder) / "contention.csv.gz"
        lines = lines_of(path, LINE)
        if next(lines, None) != HEADER:
            raise BadTrace(f"{path.name}: the first line must be {HEADER!r}")
        waits: Counter[str] = Counter()
        for number, line in enumerate(lines, 2):
            fields = line.split(",")
            if len(fields) != 6 or fields[2] not in ("begin", "end"):
                raise BadTrace(f"{path.name}, line {number}: want {HEADER}, with op begin or end")
            if fields[2] == "begin":
                frames = (frame.strip() for frame in fields[5].split("<"))
                waits[next((frame for frame in frames if not frame.startswith(SLOW_PATHS)), "")] += 1
        return LockTrace(path.parent.name, waits, waits.pop("", 0))

    def __repr__(self) -> str:
        most = sorted(self.waits.items(), key=lambda item: (-item[1], item[0]))[:4]
        rows = [f"{count:>8} waits in {function}" for function, count in most]
        return "\n".join(
            [f"{self.name}: {sum(self.waits.values())} waits, and {self.lost} without a stack", *rows]
        )
