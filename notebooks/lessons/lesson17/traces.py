"""Traces of a real guest: what it mapped, which maps and unmaps belong together, what its kernel waited for.

`maps.csv.gz` is what the kernel's own tracepoints `iommu:map` and `iommu:unmap` said:
one line for each piece of memory mapped and for each unmap, with CPU, time,
address, device. One call of the DMA API may show as several maps and is undone by one unmap;
`mappings` puts these together. What had been mapped before the trace began, or stays mapped at its
end, has one half only.

`contention.csv.gz` is what the kernel's tracepoints `lock:contention_begin` and `contention_end` said, with
stacks, while that trace was taken. How often is worth comparing with a replay; how long is not: the guest's
CPUs were emulated, and one that held a lock could lose the real one. Some events have lost their stack.

Files are hostile until read: bounded in size, every field checked, one clear error (`BadTrace`) that says
which line. Times are in ns, addresses and sizes in bytes.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass
from pathlib import Path

from vtdkit.iommu.pinning import PAGE_SIZE as PAGE

HEADER = "cpu,t_ns,op,iova,paddr,size,pid,dev"
MAX_FILE = 64 << 20  # bytes, compressed
MAX_TEXT = 512 << 20  # bytes, unpacked
MAX_LINE = 200
MAX_META = 1 << 20
MAX_CPUS = 1024
_DEVICE = re.compile(r"(?:[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])?")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}|0x[0-9a-f]{1,16}")


class BadTrace(ValueError):
    """A file that is no trace of mappings: what is wrong, and in which line."""


@dataclass(frozen=True, slots=True)
class MapEvent:
    """One line: `op` is "map" or "unmap"; an unmap has no `paddr` (0). `device` is "" where the recorder
    did not know it.
    """

    cpu: int
    time: int
    op: str
    iova: int
    paddr: int
    size: int
    pid: int
    device: str


@dataclass(frozen=True, slots=True)
class Mapping:
    """One call that mapped and the one that unmapped it; a CPU of -1 means that half is not in the trace.

    `segments` are the pieces of memory, (physical address, bytes), in the order of their bus
    addresses from `iova` on.
    """

    device: str
    iova: int
    segments: tuple[tuple[int, int], ...]
    map_cpu: int
    map_time: int
    unmap_cpu: int = -1
    unmap_time: int = 0

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(size for _, size in self.segments)


@dataclass(frozen=True, slots=True)
class MapTrace:
    """A trace: its events in order of time. `lazy`: did the guest put off flushes? (None: the
    folder does not say).
    """

    name: str
    events: tuple[MapEvent, ...]
    lazy: bool | None = None

    @staticmethod
    def load(folder: str | Path) -> MapTrace:
        """Read a `maps_*` folder, or a `maps.csv.gz` alone. Raises BadTrace."""
        path = Path(folder)
        path = path / "maps.csv.gz" if path.is_dir() else path
        lines = lines_of(path)
        if next(lines, None) != HEADER:
            raise BadTrace(f"{path.name}: the first line must be {HEADER!r}")
        events = tuple(_events(path.name, lines))
        return MapTrace(path.parent.name, events, _lazy(path.parent / "meta.json"))

    @property
    def cpus(self) -> int:
        """How many CPUs it takes to replay it."""
        return max((event.cpu for event in self.events), default=0) + 1

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices, in order of address."""
        return tuple(sorted({event.device for event in self.events if event.device}))

    @property
    def duration(self) -> int:
        """From the first event to the last, in ns."""
        return self.events[-1].time - self.events[0].time if self.events else 0

    def part(self, events: int, start: int = 0) -> MapTrace:
        """The trace of some events only; their times stay."""
        return MapTrace(
            f"{self.name}[{start}:{start + events}]", self.events[start : start + events], self.lazy
        )

    def mappings(self) -> tuple[Mapping, ...]:
        """Maps and unmaps put together, in order of first appearance. Raises BadTrace where
        they contradict each other.
        """
        return tuple(_pair(self.events))

    def __repr__(self) -> str:
        kinds = Counter(event.op for event in self.events)
        mode = {None: "", True: ", lazy", False: ", strict"}[self.lazy]
        return (
            f"<{self.name}: {kinds['map']} maps, {kinds['unmap']} unmaps on {self.cpus} CPUs, "
            f"{len(self.devices)} devices, "
            f"{self.duration / 1e9:.1f} s{mode}>"
        )


# -- reading ------------------------------------------------------------------


def lines_of(path: Path, longest: int = MAX_LINE) -> Iterator[str]:
    """The lines of a gzipped text, unpacked one at a time. Raises BadTrace."""
    done = 0
    try:
        if path.stat().st_size > MAX_FILE:
            raise BadTrace(f"{path.name}: {path.stat().st_size} bytes; more than {MAX_FILE} are not read")
        with gzip.open(path) as file:
            while line := file.readline(longest + 2):
                done += len(line)
                if done > MAX_TEXT:
                    raise BadTrace(f"{path.name}: unpacks to more than {MAX_TEXT} bytes")
                if len(line) > longest + 1:
                    raise BadTrace(f"{path.name}: a line of more than {longest} characters")
                yield line.decode("ascii", "replace").rstrip("\r\n")
    except EOFError:
        raise BadTrace(f"{path.name}: ends in the middle") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BadTrace(f"{path.name}: is no gzip file ({error})") from None
    except OSError as error:
        raise BadTrace(f"{path}: cannot be read ({error.strerror})") from None


def _events(name: str, lines: Iterator[str]) -> Iterator[MapEvent]:
    before = 0
    for number, line in enumerate(lines, 2):
        event = _event(f"{name}, line {number}", line)
        if event.time < before:
            raise BadTrace(f"{name}, line {number}: time goes back, from {before} to {event.time} ns")
        before = event.time
        yield event


def _event(where: str, line: str) -> MapEvent:
    fields = line.split(",")
    if len(fields) != 8:
        raise BadTrace(f"{where}: {len(fields)} fields; there must be 8: {HEADER}")
    cpu, time, op, iova, paddr, size, pid, device = fields
    if op not in ("map", "unmap"):
        raise BadTrace(f"{where}: op is {op[:20]!r}; it must be map or unmap")
    if not _DEVICE.fullmatch(device):
        raise BadTrace(f"{where}: device {device[:20]!r}; write it as 0000:00:03.0, or leave it out")
    event = MapEvent(
        _number(where, "cpu", cpu, MAX_CPUS - 1),
        _number(where, "t_ns", time, 1 << 62),
        op,
        _number(where, "iova", iova, 1 << 57),
        _number(where, "paddr", paddr, 1 << 52) if op == "map" else 0,
        _number(where, "size", size, 1 << 40),
        _number(where, "pid", pid, 1 << 31),
        device,
    )
    if (event.iova | event.paddr | event.size) & PAGE - 1 or not event.size:
        raise BadTrace(f"{where}: addresses and sizes must be whole pages of {PAGE} bytes, sizes not 0")
    return event


def _number(where: str, field: str, text: str, most: int) -> int:
    value = int(text, 0) if _NUMBER.fullmatch(text) else -1
    if not 0 <= value <= most:
        raise BadTrace(f"{where}: {field} is {text[:24]!r}; it must be a number from 0 to {most}")
    return value


def _lazy(meta: Path) -> bool | None:
    """What the folder's `meta.json` says about flushing; None if there is none or it does not say."""
    try:
        if meta.stat().st_size > MAX_META:
            return None
        params = json.loads(meta.read_bytes()).get("params", {})
        return {0: True, 1: False}.get(params.get("strict"))
    except (OSError, ValueError, AttributeError, RecursionError, TypeError):
        return None


# -- putting together ---------------------------------------------------------


def _pair(events: Sequence[MapEvent]) -> Iterator[Mapping]:
    """One walk over the events, with what is mapped by device and address on the side."""
    live: dict[tuple[str, int], int] = {}  # -> number of the map event
    found: dict[int, Mapping] = {}  # by the number of the first event
    for number, event in enumerate(events):
        if event.op == "map":
            since = live.get((event.device, event.iova))
            if since is not None and event.device:
                where = f"event {number}: {event.device} maps {event.iova:#x}"
                raise BadTrace(f"{where}, which is mapped since event {since}")
            live[event.device, event.iova] = number
            continue
        parts = _covered(events, live, number, event)
        first, segments = number, tuple((events[part].paddr, events[part].size) for part in parts)
        cpu, time = -1, 0
        if parts:
            first = min(parts)
            cpu, time = events[first].cpu, events[first].time
        else:  # mapped before the trace began
            segments = ((0, event.size),)
        found[first] = Mapping(event.device, event.iova, segments, cpu, time, event.cpu, event.time)
    for number in live.values():
        event = events[number]
        if event.device:
            segments = ((event.paddr, event.size),)
            found[number] = Mapping(event.device, event.iova, segments, event.cpu, event.time)
    return iter([found[number] for number in sorted(found)])


def _covered(
    events: Sequence[MapEvent], live: dict[tuple[str, int], int], number: int, event: MapEvent
) -> list[int]:
    """The maps that an unmap covers together, lowest address first, taken off `live`. The recorder lost the
    device of a few; then the address alone decides.
    """
    parts: list[int] = []
    at, end = event.iova, event.iova + event.size
    where = f"event {number}: {event.device} unmaps"
    while at < end:
        part = live.pop((event.device, at), None)
        part = live.pop(("", at), None) if part is None else part
        if part is None:
            if parts:
                raise BadTrace(f"{where} {event.iova:#x}, but nothing is mapped at {at:#x}")
            return []
        parts.append(part)
        at += events[part].size
    if at != end:
        raise BadTrace(f"{where} up to {end:#x} in the middle of a piece that was mapped whole")
    return parts


# -- what the guest's kernel waited for ---------------------------------------

WAITS_HEADER = "cpu,t_s,op,lock,flags_or_ret,stack"
LINE = 2000  # stacks are long
#: frames of the locks themselves: who waited is the one that called them
SLOW_PATHS = ("native_queued_", "_raw_", "rwsem_", "down_", "up_", "__mutex", "mutex_", "queued_")


@dataclass(frozen=True, slots=True)
class LockTrace:
    """`waits`: function that waited for a lock -> how often; `lost`: waits whose stack is not there."""

    name: str
    waits: ReadOnly[str, int]
    lost: int

    @staticmethod
    def load(folder: str | Path) -> LockTrace:
        """Read a `maps_*` folder's `contention.csv.gz`. Raises BadTrace."""
        path = Path(folder) / "contention.csv.gz"
        lines = lines_of(path, LINE)
        if next(lines, None) != WAITS_HEADER:
            raise BadTrace(f"{path.name}: the first line must be {WAITS_HEADER!r}")
        waits: Counter[str] = Counter()
        for number, line in enumerate(lines, 2):
            fields = line.split(",")
            if len(fields) != 6 or fields[2] not in ("begin", "end"):
                raise BadTrace(f"{path.name}, line {number}: want {WAITS_HEADER}, with op begin or end")
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
