"""Small notebooks made up for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.notebooks.nbchecks import as_jupyterlab_saves

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}


def prose(text: str) -> dict[str, Any]:
    """A markdown cell."""
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code(
    text: str, *, prints: str | None = None, tags: tuple[str, ...] = (), hidden: bool = False
) -> dict[str, Any]:
    """A code cell, as if it had run and printed."""
    outputs = [] if prints is None else [{"output_type": "stream", "name": "stdout", "text": prints}]
    metadata: dict[str, Any] = {"tags": list(tags)} if tags else {}
    if hidden:
        metadata["jupyter"] = {"source_hidden": True}
    return {
        "cell_type": "code",
        "metadata": metadata,
        "source": text,
        "execution_count": 0,
        "outputs": outputs,
    }


def notebook(*cells: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """A notebook of these cells, numbered as if run from top to bottom."""
    count = 0
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
        if cell["cell_type"] == "code" and cell["execution_count"] == 0:
            cell["execution_count"] = count = count + 1
    return {"cells": list(cells), "metadata": {**KERNEL, **metadata}, "nbformat": 4, "nbformat_minor": 5}


def save(path: Path, content: dict[str, Any]) -> Path:
    """Write it as JupyterLab does."""
    path.write_text(as_jupyterlab_saves(content), encoding="utf-8", newline="\n")
    return path
