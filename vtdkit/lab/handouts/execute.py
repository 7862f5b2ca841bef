"""Run a notebook from top to bottom in a kernel of its own.

A run in which widgets and the kernel talk to each other can hang for ever (nbclient's issue 312), so each
cell has a time limit. A run that exceeds it, or whose kernel does not start or dies, is tried once more, and
that is reported. Cells tagged `raises-exception` may raise; any other error ends the run.
"""

from __future__ import annotations

import atexit
import sys
from pathlib import Path
from typing import Any


class NotebookFailed(Exception):
    """A notebook did not run to its end; the message names it, the error and the cell's text."""


def execute(path: Path, *, timeout: int = 120, widget_state: bool = True) -> Any:
    """The notebook at `path` with fresh outputs (an nbformat node), run in the folder it lies in.

    `timeout` is in seconds and holds for each cell. With `widget_state` the state of all widgets is in the
    metadata, as pages without a kernel need it. Raises `NotebookFailed`.
    """
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    for attempt in (1, 2):
        try:
            return _run(path, timeout, widget_state)
        except CellExecutionError as error:
            raise NotebookFailed(
                f"{path.name}: {error.ename}: {error.evalue}, in the cell\n{error.traceback}"
            ) from None
        except (CellTimeoutError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            if attempt == 2:
                raise NotebookFailed(f"{path.name}: {reason} (twice)") from None
            print(f"{path.name}: {reason}; trying once more", file=sys.stderr)
    raise AssertionError("the second attempt returns or raises")


def _run(path: Path, timeout: int, widget_state: bool) -> Any:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook,
        timeout=timeout,
        startup_timeout=120,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # a kernel warns of its own transport on every start
        store_widget_state=widget_state,
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )
    try:
        return client.execute()
    except RuntimeError:
        atexit.unregister(client._cleanup_kernel)  # of a kernel that is gone it would complain at the end
        raise
