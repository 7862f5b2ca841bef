"""A machine, as its parts and its primitives name it. At run time nothing below `machine.py` knows `Machine`,
so no module has to import one that imports it; for whoever checks types, `Host` is that class.

The parts hold each other through the machine alone, so that the explorer can put others in their places
(`Machine.make`).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .machine import Machine

    Host = Machine
else:
    Host = Any

Wait = Generator[int | None, None, None]  #: a primitive that is awaited for its effect alone
