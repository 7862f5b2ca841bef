"""What a run leaves in a notebook that is not the lesson, and how it is taken out.

- A traceback names files of the machine it ran on: only its last line is kept.
- The state of every widget ever made is stored: only those shown are kept, and what they are made of. (A
  solution that is cut out of the student edition must not stay behind in a widget's state either.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
_LINKS = {"LinkModel", "DirectionalLinkModel"}


def shorten_tracebacks(notebook: Any) -> None:
    """Keep of each error its name and text."""
    for output in outputs(notebook):
        if output["output_type"] == "error":
            output["traceback"] = [f"{output['ename']}: {output['evalue']}".removesuffix(": ")]


def outputs(notebook: Any) -> Iterator[Any]:
    """Every output of every cell."""
    for cell in notebook["cells"]:
        yield from cell.get("outputs", [])


def keep_shown_widgets(notebook: Any) -> None:
    """For a page: drop knobs (cells tagged `what-if`), which only a kernel answers, for their line of text;
    then the state of widgets that no output shows and none of those shown refers to.
    """
    for cell in notebook["cells"]:
        if "what-if" in cell["metadata"].get("tags", ()):
            for output in cell["outputs"]:
                output.get("data", {}).pop(WIDGET_VIEW, None)
    stored = notebook["metadata"].get("widgets", {}).get(WIDGET_STATE)
    if stored is None:
        return
    state = stored["state"]
    references = {
        model: set(re.findall(r"IPY_MODEL_([0-9a-f]+)", json.dumps(content["state"]))) & set(state)
        for model, content in state.items()
    }
    kept: set[str] = set()
    todo = {
        output["data"][WIDGET_VIEW]["model_id"]
        for output in outputs(notebook)
        if WIDGET_VIEW in output.get("data", {})
    }
    while todo := (todo & set(state)) - kept:
        kept |= todo
        todo = set().union(*(references[model] for model in todo))
        # A link is referred to by nobody; it belongs to the two it joins.
        todo |= {
            model
            for model, content in state.items()
            if content["model_name"] in _LINKS and references[model] <= kept | todo
        }
    stored["state"] = {model: content for model, content in state.items() if model in kept}
    if not kept:
        del notebook["metadata"]["widgets"]
