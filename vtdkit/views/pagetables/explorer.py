"""What the explorers of all kinds of page tables have in common: the script, the position."""

from __future__ import annotations

import traitlets

from vtdkit.views.shared.base import Address, Widget
from vtdkit.views.shared.bundle import module, style

from .cells import KINDS


class Explorer(Widget):
    """Page tables explored by address: `iova` (kept as hex text), `kind` ("read" or "write"), `row` (the
    chosen table, -1: the last one reached), `device`.
    """

    _esm = module("pagetables/pagetables.js")
    _css = style("pagetables/pagetables.css")
    iova = Address().tag(sync=True)
    kind = traitlets.Enum(KINDS, "read").tag(sync=True)
    row = traitlets.Int(-1).tag(sync=True)
    device = traitlets.Unicode().tag(sync=True)
