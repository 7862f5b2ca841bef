"""HTML and SVG as nested calls, escaped by construction: for the picture that every widget leaves in a
saved notebook.

    tag("p", "a < b & c", class_="note")        <p class="note">a &lt; b &amp; c</p>

A child that is plain text is escaped; only what `tag` and `join` returned goes in as it is. Attribute names
lose a final underscore, and other underscores become hyphens; an attribute that is None is left out. The text
depends on nothing but the arguments.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = {"br", "hr", "img", "path", "rect", "line", "circle", "use"}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: object) -> Html:
    """One element. Children are text (escaped), numbers, or `Html`."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Html(f"<{name}{given}/>")
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Html:
    """Several pieces after each other."""
    return Html("".join(child if isinstance(child, Html) else html.escape(str(child)) for child in children))
