"""HTML and SVG as nested calls, escaped by construction: for the still picture that every widget leaves
in a saved notebook.

    tag("p", "a < b & c", class_="note")        <p class="note">a &lt; b &amp; c</p>

A child that is plain text is escaped; only what `tag` and `join` returned goes in as it is. Attribute names
lose a final underscore, and other underscores become hyphens; an attribute that is None is left out. The text
depends on nothing but the arguments.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_VOID = {"br", "hr", "img", "path", "rect", "line", "circle", "use"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: object) -> Html:
    """One element. Children are text (escaped), numbers, or `Html`."""
    given = "".join(
        f' {_name(key)}="{html.escape(str(value))}"' for key, value in attributes.items() if value is not None
    )
    if name in _VOID and not children:
        return Html(f"<{name}{given}/>")
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    """Several pieces after each other."""
    return Html("".join(child if isinstance(child, Html) else html.escape(str(child)) for child in children))


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


CELL = "padding:1px 10px 1px 0;text-align:left;vertical-align:top"
MONO = "font-family:var(--jp-code-font-family,monospace)"


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, mono: Sequence[int] = ()) -> Html:
    """A plain table that reads well also where style sheets are taken out. `mono` are the columns in
    type of equal width.
    """
    styles = [f"{CELL};{MONO}" if column in mono else CELL for column in range(len(head))]
    top = tag("tr", *(tag("th", each, style=CELL, scope="col") for each in head))
    body = (
        tag("tr", *(tag("td", each, style=style) for each, style in zip(row, styles, strict=True)))
        for row in rows
    )
    return tag("table", tag("thead", top), tag("tbody", *body), style="border-collapse:collapse;margin:4px 0")


def still(label: str, *parts: object) -> Html:
    """The frame of a still picture: `label` says what it shows, in bold and to whoever cannot see."""
    return tag(
        "div", tag("p", tag("strong", label), style="margin:0 0 4px"), *parts, role="group", aria_label=label
    )


def picture(label: str, width: int, height: int, *parts: object) -> Html:
    """An SVG drawing of `width` by `height` units with a name for whoever cannot see it. Colours
    come from its surroundings.
    """
    style = f"width:100%;max-width:{width}px;height:auto;color:var(--jp-content-font-color1,#1c1c1c)"
    return tag("svg", *parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=label, style=style)
