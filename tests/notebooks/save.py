"""Run notebooks and save them as they are kept in the project: outputs, plain metadata, no widget models, LF.

    python -m tests.notebooks.save notebooks/00-start-here.ipynb

Prints the rules a notebook breaks after it is saved; exit status 1 if there is one, or if it did not
run to its end.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.notebooks.nbchecks import problems
from vtdkit.lab.handouts.execute import NotebookFailed, execute
from vtdkit.lab.handouts.tidy import drop_widget_models, join_streams, plain_metadata, shorten_tracebacks


def save(path: Path) -> list[str]:
    """Run the notebook and write it back; returns the rules it breaks. Raises `NotebookFailed`, and then
    leaves the file alone.
    """
    notebook = execute(path, widget_state=False)
    shorten_tracebacks(notebook)
    join_streams(notebook)
    drop_widget_models(notebook)
    plain_metadata(notebook)
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")
    return problems(path)


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
