"""What a saved notebook does not keep: pieces of one print, models of widgets."""

from __future__ import annotations

from typing import Any

from vtdkit.lab.handouts.tidy import WIDGET_VIEW, outputs


def join_streams(notebook: Any) -> None:
    """What a cell printed is one piece, however the kernel happened to send it."""
    for cell in notebook["cells"]:
        joined: list[Any] = []
        for output in cell.get("outputs", ()):
            last = joined[-1] if joined else {}
            if output["output_type"] == "stream" and last.get("name") == output["name"]:
                last["text"] = "".join(last["text"]) + "".join(output["text"])
            else:
                joined.append(output)
        if joined:
            cell["outputs"] = joined


def drop_widget_models(notebook: Any) -> None:
    """For a notebook that is saved: a widget stays as its text and its picture, without the model of a
    kernel that is gone.
    """
    for output in outputs(notebook):
        output.get("data", {}).pop(WIDGET_VIEW, None)
    notebook["metadata"].pop("widgets", None)
