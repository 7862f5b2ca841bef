"""The remapping hardware, as Intel's VT-d specification defines it. It knows no Linux and does no I/O.

    from vtdkit.vtd import Capabilities, Memory, RemappingUnit, Request, sid

`README.md` beside this file is the map of the room. The names below are fetched from their modules when first
used, so that importing the package costs next to nothing.
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
        "image": ("BadFile BadImage explain Image ImageMemory MappedRange StaleEntry Survey"),
        "interrupts": "NotModelled",
        "memory": "AccessError Memory MemoryPort",
        "quirks": "QEMU_10 QEMU_7_2 Quirks SPECIFICATION",
        "queue": "QueueStep",
        "registers": "BadRegisterAccess Message",
        "requests": "BadRequest bdf Completion Fault Interrupt Request sid Translation",
        "tables": "Entry Field Structure",
        "unit": ("Hooks Note RemappingUnit"),
        "walk": "Access Step Walk",
    },
)
