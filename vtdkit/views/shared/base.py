"""`Widget`: what all widgets of this kit are made from.

A widget is a record and a position. The record is plain data, made by Python once and sent once; the position
(a step, an address, a chosen row) is a few small traits that the browser changes. Whoever scrubs never waits
for Python, which hears of the position once the keys rest, and a page without a kernel moves too.

To make one:

    class Steps(Widget):
        '''What it shows, and its keys.'''
        _esm = module("steps.js")            # an ES module beside this one: export default { render }
        _css = style("steps.css")
        step = traitlets.Int(0).tag(**POSITION)

        def __init__(self, trace): super().__init__(steps_record(trace))
        def summary(self): return f"step {self.step} of {self.record['last']}"
        def still(self): return steps_still(self.record, self.step)    # sheet.py

Rules for whoever makes one:

- the record comes from a pure function in a module of its own that imports neither anywidget nor
  matplotlib; so do layouts
- text in a record is shown with `textContent`, never as markup; in stills `html.tag` escapes it
- the still is the one picture that Python draws: in a saved notebook, and saved as a file, on paper
- `summary`, `still` depend on record and position alone, and name nothing that another
  run would have otherwise
- keys as in `common.js`; PageUp, PageDown, `w` and `c` belong to the page, so nothing may be
  reached by these alone
- each control has an accessible name; each colour has a second sign

A notebook that is saved keeps no widget, only its text and its still (why it has this form: `sheet.py`): that
is what `_repr_mimebundle_` gives besides the view.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from .html import Html, tag
from .record import LIMIT, Record, checked
from .sheet import Picture, Sheet

MOVE = "A picture. Run the cell, and it moves."
POSITION: dict[str, Any] = {"sync": True, "echo_update": False}
"""Tags of a trait that the browser changes. Without an echo of what it sent: by the time that came back, the
keys may have moved on, and it would move them back.
"""


class Widget(anywidget.AnyWidget):
    """A record shown in the browser. Raises BadRecord for one that a browser could not be given."""

    record: Record = traitlets.Dict(read_only=True).tag(sync=True)  # type: ignore[assignment]
    largest_record = LIMIT

    def __init__(self, record: Mapping[str, Any], **position: Any) -> None:
        self._given = checked(record, self.largest_record)
        super().__init__(**position)

    @traitlets.default("record")
    def _the_record(self) -> Record:
        return self._given

    def summary(self) -> str:
        """One line of text on what is shown at the present position."""
        return str(self.record.get("title", ""))

    def still(self) -> Picture:
        """The picture at the present position, in SVG; `still().save("x.svg")` for paper."""
        return Sheet(self.summary()).picture()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.summary()}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The widget, and for readers that have none, its text and its still."""
        bundle: tuple[dict[str, Any], dict[str, Any]] | None = super()._repr_mimebundle_(**kwargs)
        if bundle is not None:
            bundle[0]["text/plain"] = repr(self)
            bundle[0]["text/html"] = str(shown(self.still()))
        return bundle


def shown(still: Picture) -> Html:
    """A still as a reader without the widget gets it."""
    return tag("div", still.img, tag("p", MOVE))


class Address(traitlets.TraitType):  # type: ignore[type-arg]
    """A 64-bit address as a trait: given as a number or as hex text, kept and sent as text such as 0x1000."""

    default_value = "0x0"
    bits = 64
    info_text = "an address below 2^64, as a number or as hex text"

    def validate(self, obj: Any, value: Any) -> str:
        try:
            number = int(value, 16) if isinstance(value, str) else int(value)
        except (TypeError, ValueError):
            number = -1
        if isinstance(value, bool) or not 0 <= number < 1 << self.bits:
            self.error(obj, value)
        return f"{number:#x}"
