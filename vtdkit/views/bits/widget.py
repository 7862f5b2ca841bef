"""The bit-field card: any register, table entry or descriptor, bit by bit; of an entry that a walk used, flip
one and see what the hardware then answers.

    BitFieldCard("SS-PTE", 0x1234003)
    BitFieldCard("GCMD", 1 << 31)
    walk = unit.walk(Request(sid("00:03.0"), 0x1000))
    BitFieldCard(walk.steps[-1], unit=unit, request=walk.request)

The record has the answers for the starting value and for each single bit of it flipped, so that a page
without a kernel answers too; for any other value Python is asked, and where there is none the card says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import traitlets

from vtdkit.views.pagetables.words import WORDS
from vtdkit.views.shared.base import POSITION, Address, Widget
from vtdkit.views.shared.bundle import module, style
from vtdkit.views.shared.record import Record
from vtdkit.views.shared.sheet import Picture
from vtdkit.vtd.capabilities import Capabilities
from vtdkit.vtd.requests import Kind, Request
from vtdkit.vtd.tables.entries import CONTEXT_ENTRY, PASID_ENTRY, PGTT_NAMES
from vtdkit.vtd.tables.layout import Structure
from vtdkit.vtd.unit.unit import RemappingUnit
from vtdkit.vtd.walk.rules import in_interrupt_range
from vtdkit.vtd.walk.trace import Step

from .answers import Answers
from .records import glossary_of, layout_record
from .still import SIGNS, bits_still
from .words import TITLES, glossary, layouts


class Value(Address):
    """A number of up to 512 bits as a trait, kept as hex text."""

    bits = 512
    info_text = "a number of at most 512 bits, as a number or as hex text"


class BitFieldCard(Widget):
    """One value, its fields by name, and what hardware makes of it.

    - `what`: a `Structure`, the name of one (`layouts()` has them all), or a `Step` of a walk, which
      brings its value along
    - `value`: the value to begin with
    - `unit`: says which bits are reserved; without it, one that can do all
    - `request`: the DMA that a step of `unit` was walked for; it is asked about as a read and as a write

    Position: `value` (hex text), `bit` (the one under the cursor). Raises ValueError for a layout that is not
    there, or a value that is too wide.
    """

    _esm = module("bits/bitfield.js")
    _css = style("bits/bitfield.css")
    value = Value().tag(**POSITION)
    bit = traitlets.Int(0).tag(**POSITION)
    answered: dict[str, Any] = traitlets.Dict().tag(sync=True)  # type: ignore[assignment]

    def __init__(
        self,
        what: Structure | Step | str,
        value: int | None = None,
        *,
        unit: RemappingUnit | None = None,
        request: Request | None = None,
    ) -> None:
        layout = _layout(what)
        start = value if value is not None else what.raw if isinstance(what, Step) else 0
        if not 0 <= start < 1 << layout.width:
            raise ValueError(f"{start:#x} does not fit: {layout.name} has {layout.width} bits")
        self._layout_shown, self._start = layout, start
        self._answers: Answers | None = None
        if unit and request and isinstance(what, Step) and what.source == "memory":
            interrupt = request.pasid is None and in_interrupt_range(request.address, request.address + 1)
            kinds: tuple[Kind, ...] = ("write",) if interrupt else ("read", "write")
            self._answers = Answers(unit, what, [replace(request, kind=kind) for kind in kinds])
        super().__init__(_record(layout, unit, start, self._answers), value=start, bit=0)
        self.observe(self._ask, "value")

    @traitlets.validate("value")
    def _fitting(self, proposal: Mapping[str, Any]) -> str:
        value = str(proposal["value"])
        if int(value, 16) >> self._layout_shown.width:
            raise traitlets.TraitError(
                f"{value} does not fit: {self._layout_shown.name} has {self._layout_shown.width} bits"
            )
        return value

    def _ask(self, change: Mapping[str, Any]) -> None:
        """Answer for a value that the record does not answer for."""
        now = int(self.value, 16)
        if self._answers and (now ^ self._start).bit_count() > 1:
            self.answered = {"value": self.value, "answers": self._answers.ask(now)}

    @property
    def answers(self) -> list[Record]:
        """What hardware makes of the present value; nothing without a unit."""
        return self._answers.ask(int(self.value, 16)) if self._answers else []

    def summary(self) -> str:
        heads = "; ".join(f"{SIGNS[each['good']]}{each['head']}" for each in self.answers)
        return f"{self.record['name']} = {self.value}{': ' if heads else ''}{heads}"

    def still(self) -> Picture:
        value = int(self.value, 16)
        # Which bits are ignored may depend on a field of the value itself.
        name, types = _CHOOSERS.get(self._layout_shown, _NO_CHOICE)
        kind = types.get(self._layout_shown.field(name).get(value), "") if name else ""
        return bits_still(self.record, self.record["layouts"][kind], value, self.answers)


def _layout(what: Structure | Step | str) -> Structure:
    if not isinstance(what, str):
        return what.structure if isinstance(what, Step) else what
    if what not in layouts():
        raise ValueError(f"there is no layout called {what!r}; there are {', '.join(layouts())}")
    return layouts()[what]


def _record(layout: Structure, unit: RemappingUnit | None, start: int, answers: Answers | None) -> Record:
    environment = unit.rules.environment if unit else Capabilities.scalable().environment
    chooser, types = _CHOOSERS.get(layout, _NO_CHOICE)
    made = {kind: layout_record(layout, environment, kind) for kind in dict.fromkeys(("", *types.values()))}
    flips = {str(bit): answers.ask(start ^ 1 << bit) for bit in range(layout.width)} if answers else {}
    first = answers.ask(start) if answers else []
    said = [
        text for each in [first, *flips.values()] for line in each for text in (line["head"], line["detail"])
    ]
    # Each different answer once, and for each bit which one it is: most bits make no difference.
    texts = {bit: json.dumps(answer) for bit, answer in flips.items()}
    distinct = list(dict.fromkeys(texts.values()))
    return {
        "name": layout.name.removesuffix("_REG"),
        "title": TITLES[layout.name.removesuffix("_REG")],
        "source": layout.source,
        "width": layout.width,
        "start": f"{start:#x}",
        "layouts": made,
        "chooser": {"field": chooser, "types": {str(value): kind for value, kind in types.items()}},
        "asks": answers is not None,
        "first": first,
        "distinct": [json.loads(text) for text in distinct],
        "flips": {bit: distinct.index(text) for bit, text in texts.items()},
        "glossary": glossary_of(made.values()) | glossary(said),
        "words": [word for word in WORDS if word[0] in ("DMA", "domain", "IOTLB", "reserved bit")],
    }


_CHOOSERS: dict[Structure, tuple[str, Mapping[int, str]]] = {
    PASID_ENTRY: ("PGTT", PGTT_NAMES),
    CONTEXT_ENTRY: ("TT", {2: "PT"}),
}
"""Entries that say themselves how they are used: by which field, and its values → translation type."""
_NO_CHOICE: tuple[str, Mapping[int, str]] = ("", {})
