"""The remapping hardware, as Intel's VT-d specification defines it. It knows no Linux and does no I/O.

    from vtdkit.vtd import Capabilities, Memory, RemappingUnit, Request, sid

Rooms, from what needs nothing to what needs all: `tables` (layouts of bits), `registers`, `faults` (reasons
and records), `caches`, `walk` (the translation algorithm), `interrupts`, `queue` (invalidation), `unit` (all
of it put together); beside them `firmware` (the DMAR table) and `image` (tables of real machines).

What everybody names stands in leaf files: `requests.py`, `memory.py`, `capabilities.py` (what a unit can do),
`quirks.py` (where emulators differ), `state.py` (what the parts of a unit see of it), `hooks.py` (what leaves
it), `plain.py` (how records show themselves). `README.md` says more, and what is not modelled. A name below
is fetched when it is first used.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "caches": "Endpoint",
        "capabilities": "BadCapabilities Capabilities",
        "faults": "Reason REASONS",
        "firmware": "BadDmar Dmar",
        "hooks": "Hooks",
        "image": ("BadFile BadImage explain Image MappedRange StaleEntry Survey"),
        "interrupts": "NotModelled",
        "memory": "AccessError Memory MemoryPort",
        "quirks": "QEMU_10 QEMU_7_2 Quirks SPECIFICATION",
        "queue": "QueueStep",
        "registers": "BadRegisterAccess Message",
        "requests": "BadRequest bdf Completion Fault Interrupt Request sid Translation",
        "tables": "Entry Field Structure",
        "unit": "RemappingUnit",
        "walk": "Access Step Walk",
    },
)
