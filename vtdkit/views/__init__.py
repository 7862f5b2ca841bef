"""Pictures of records: figures for paper, widgets for what is moved by hand.

    from vtdkit.views import PageTableExplorer
    PageTableExplorer(Image.load("tests/reality/superpage_1g-s0-quiet"), source="00:09.0", iova=0x40000000)

`README.md` beside this file says how a widget is made here. The names below are fetched from their modules when first used, so that
importing the package costs next to nothing; only the widgets need anywidget, only the figures matplotlib.
"""

from __future__ import annotations

import importlib

#: module -> the names it gives
_HOMES = {
    "base": "Widget",
    "bitfield": "BitFieldCard",
    "lockgraph": "lock_order_figure",
    "pagetables": "PageTableExplorer",
    "patch": "PatchView",
    "patch_locks": "locks_taken",
    "record": "BadRecord",
    "scaling": "ScalingPoint scaling_figure",
    "stepper": "Stepper",
    "timeline": "LockTimeline",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
