"""Which locks each function took in a run, and for how long: read from the record of the run.

    locks_taken(trace)  # {"dmar_remove_one_dev_info": [("device_domain_lock", "interrupts off", 1890)], …}

A lock belongs to the function in whose body it was taken, under the kernel's name of that function. `how`
says whether interrupts
were off and which locks the thread had already; the time is what passed until it let go, in ns of virtual
time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from vtdkit.kernel.record.record import ACQUIRE, IRQ_OFF, IRQ_ON, RELEASE
from vtdkit.kernel.record.trace import Trace
from vtdkit.series.patch import kernel_name

Taken: TypeAlias = tuple[str, str, int]
Locks: TypeAlias = Mapping[str, Sequence[Taken]]


def locks_taken(trace: Trace, *, start: int = 0) -> dict[str, list[Taken]]:
    """Function → (lock, how, ns held) for every lock taken at `start` or later, in order of release.

    Locks that are still held when the record ends are left out: nobody knows for how long.
    """
    found: dict[str, list[Taken]] = {}
    held: dict[int, dict[int, tuple[int, str, str]]] = {}  # context -> lock -> since when, function, how
    quiet: set[int] = set()
    for time, _, context, kind, lock, site, _ in trace.rows():
        mine = held.setdefault(context, {})
        if kind == IRQ_OFF:
            quiet.add(context)
        elif kind == IRQ_ON:
            quiet.discard(context)
        elif kind == ACQUIRE:
            others = " and ".join(dict.fromkeys(trace.objects[other] for other in mine))
            how = f"interrupts {'off' if context in quiet else 'on'}{f', inside {others}' if others else ''}"
            mine[lock] = time, kernel_name(trace.sites[site].function), how
        elif kind == RELEASE and lock in mine:
            since, function, how = mine.pop(lock)
            if since >= start:
                found.setdefault(function, []).append((trace.objects[lock], how, time - since))
    return found
