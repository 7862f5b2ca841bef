"""What the explorers of all kinds of page tables have in common: the script, the position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import traitlets

from vtdkit.views.shared.base import POSITION, Address, Widget
from vtdkit.views.shared.bundle import module, style
from vtdkit.views.shared.record import Record

from .cells import KINDS
from .words import WORDS

Words: TypeAlias = Sequence[tuple[str, str]]


class Explorer(Widget):
    """Page tables explored by address: `iova` (kept as hex text), `kind` ("read" or "write"), `row` (the
    chosen table, -1: the last one reached), `device`.
    """

    _esm = module("pagetables/pagetables.js")
    _css = style("pagetables/pagetables.css")
    iova = Address().tag(**POSITION)
    kind = traitlets.Enum(KINDS, "read").tag(**POSITION)
    row = traitlets.Int(-1).tag(**POSITION)
    device = traitlets.Unicode().tag(**POSITION)

    def __init__(
        self,
        title: str,
        device: str,
        sides: Sequence[Record],
        *,
        words: Words = WORDS,
        names: Sequence[str] = ("",),
        more: Sequence[Record] = (),
        **position: Any,
    ) -> None:
        """`sides` are shown beside each other under `names`; `more` are the other devices."""
        record = {"title": title, "device": device, "words": words, "sides": sides, "names": names}
        super().__init__(record | {"more": more}, device=device, **position)
