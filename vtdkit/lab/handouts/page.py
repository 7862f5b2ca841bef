"""One page: a notebook with outputs and widget state, as HTML that loads only what lies beside it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .editions import title

HERE = Path(__file__).parent
ASSETS = ("walk.js", "walk.css")
_INDEX = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="vendor/walk.css"></head>
<body class="index"><main><h1>{title}</h1>
<ol>
{items}
</ol>
<p>{hint}</p></main></body>
</html>
"""
_HINT = (
    "These pages need neither a kernel nor a network. Press <kbd>w</kbd> on a page to walk through it, "
    "one step per screen."
)


def page(notebook: Any, name: str, *, walking: bool = False) -> str:
    """The HTML of a notebook. `walking` opens it as a walkthrough."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="handout",
        extra_template_basedirs=[str(HERE / "templates")],
        embed_images=True,
        widget_renderer_url="vendor/embed-amd.js",
        require_js_url="vendor/require.js",
    )
    notebook["metadata"]["title"] = title(notebook, name)
    body, _ = exporter.from_notebook_node(
        notebook, resources={"handout": {"walking": walking}, "metadata": {"name": name}}
    )
    return re.sub(r"<th(?: [^>]*)?></th>", "<td></td>", str(body))  # an empty heading of a table is none


def markdown_page(text: str) -> Any:
    """A page of prose (the glossary) as a notebook of one cell, so that it goes the same way."""
    from nbformat.v4 import new_markdown_cell, new_notebook

    return new_notebook(cells=[new_markdown_cell(text, id="page")])  # type: ignore[no-untyped-call]


def index(heading: str, pages: Iterable[tuple[str, str]]) -> str:
    """The page that lists the others: `pages` are file names and titles."""
    items = "\n".join(
        f'<li><a href="{html.escape(name)}">{html.escape(text)}</a></li>' for name, text in pages
    )
    return _INDEX.format(title=html.escape(heading), items=items, hint=_HINT)
