"""Faces of rooms: `from vtdkit.vtd import RemappingUnit` fetches the name from its module when
it is first used.

A room's `__init__` says in one table which part of it has which names, and nothing else happens there:

    __getattr__, __dir__, __all__ = face(__name__, {"unit": "RemappingUnit",
    "tables": "Entry Field Structure"})

A part is a module of the room, or a room inside it with a face of its own. So a face costs next to nothing to
import, and code of the kit imports from the modules themselves, where the arrows can be seen.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def face(
    room: str, parts: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of the package `room`; `parts` has each
    part's names, between blanks.
    """
    home = {name: part for part, names in parts.items() for name in names.split()}

    def fetch(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{room}.{home[name]}"), name)

    return fetch, lambda: sorted(home), sorted(home)
