"""Pictures of records: widgets for what is moved by hand, charts for what stands still.

    from vtdkit.views import PageTableExplorer
    PageTableExplorer(Image.load("tests/reality/superpage_1g-s0-quiet"), source="00:09.0", iova=0x40000000)

`README.md` beside this file says how a widget is made here. The names below are fetched from their
modules when first used, so that importing the package costs next to nothing; only the widgets need
anywidget; nothing here needs matplotlib.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "bits": "BitFieldCard",
        "charts": "latency_figure lock_order_figure scaling_figure",
        "pagetables": "BackendExplorer PageTableExplorer",
        "patch": "locks_taken PatchView",
        "shared": "BadRecord Widget",
        "stepper": "Stepper",
        "timeline": "LockTimeline",
    },
)
