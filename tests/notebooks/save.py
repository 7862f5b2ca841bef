"""Run notebooks and save them as they are kept in the project: outputs, plain metadata, no widget models.

    python -m tests.notebooks.save notebooks/00-start-here.ipynb

The form is the one in which JupyterLab saves, to the byte: texts as lists of lines, what the kernel says of
its language, LF. Who only opens a notebook then changes nothing in it.

Prints the rules a notebook breaks after it is saved; exit status 1 if there is one, or if it did not
run to its end.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat

from tests.notebooks.nbchecks import as_jupyterlab_saves, problems
from tests.notebooks.plain import drop_widget_models, join_streams
from vtdkit.lab.handouts.execute import NotebookFailed, execute
from vtdkit.lab.handouts.tidy import shorten_tracebacks

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
PASSING = ("execution", "collapsed", "scrolled", "ExecuteTime", "trusted")
"""Metadata of a cell that say how it was run or looked at."""


def save(path: Path) -> list[str]:
    """Run the notebook and write it back; returns the rules it breaks. Raises `NotebookFailed`, and then
    leaves the file alone.
    """
    notebook = execute(path, widget_state=False)
    shorten_tracebacks(notebook)
    join_streams(notebook)
    drop_widget_models(notebook)
    plain_metadata(notebook)
    path.write_text(as_jupyterlab_saves(notebook), encoding="utf-8", newline="\n")
    return problems(path)


def plain_metadata(notebook: Any) -> None:
    """Keep the title, the kernel's name, and what the kernel says of its language."""
    kept = {
        key: notebook["metadata"][key] for key in ("language_info", "title") if key in notebook["metadata"]
    }
    notebook["metadata"] = nbformat.from_dict({"kernelspec": KERNEL, **kept})
    for cell in notebook["cells"]:
        for key in PASSING:
            cell["metadata"].pop(key, None)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    status = 0
    for name in arguments:
        try:
            found = save(Path(name))
        except (NotebookFailed, OSError) as error:
            found = [str(error)]
        for line in found:
            print(line)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
