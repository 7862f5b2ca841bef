"""The verb `explain`.

Exit status: 0 something was understood, 1 nothing was, 2 a file cannot be read (one line on standard error).
Large input shows how far it has come, on standard error, where that is a terminal or `--progress` is given.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from vtdkit.vtd.plain import said

from .reading import explain_chunks
from .report import Explanation

PIECE = 1 << 20
_BAR = 30
_LARGE = 8 << 20


def main(arguments: Sequence[str]) -> int:
    """Explain files, or standard input."""
    parser = argparse.ArgumentParser(
        prog="vtdkit explain",
        description="Explain what a machine said about its remapping units: kernel logs, debugfs files, "
        "DMAR tables (binary, acpidump, .dsl), CAP/ECAP registers, lock_stat and perf lock tables, in any "
        "mixture.",
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="files, or - for standard input (which is the default)"
    )
    parser.add_argument("--json", action="store_true", help="print the same as data")
    parser.add_argument(
        "--redact",
        action="store_true",
        help="replace serials, MAC and other addresses and host names in what is printed",
    )
    parser.add_argument(
        "--progress", action="store_true", help="show progress although nobody looks at a terminal"
    )
    options = parser.parse_args(arguments)
    files, how = options.files or ["-"], {"redact": options.redact, "progress": options.progress}
    try:
        found = [_explained(name, **how) for name in files]
    except OSError as error:
        print(f"vtdkit explain: {said(error, 'standard input')}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([each.as_data() for each in found], indent=1))
    else:
        print("\n\n".join(map(repr, found)))
    return 0 if any(found) else 1


def _explained(name: str, *, redact: bool, progress: bool) -> Explanation:
    if name == "-":
        return explain_chunks("standard input", _pieces(sys.stdin.buffer, 0, progress), redact=redact)
    path = Path(name)
    with path.open("rb") as file:
        return explain_chunks(path.name, _pieces(file, path.stat().st_size, progress), redact=redact)


def _pieces(file: BinaryIO, size: int, progress: bool) -> Iterator[bytes]:
    """The file in pieces; for a large one a bar of how much of it has been read."""
    shown = progress or (size > _LARGE and sys.stderr.isatty())
    done = 0
    while piece := file.read(PIECE):
        yield piece
        done += len(piece)
        if shown:
            part = min(done / size, 1.0) if size else 0.0
            bar = f"[{'#' * round(_BAR * part):<{_BAR}}] {part:4.0%}" if size else f"{done >> 20} MB"
            print(f"\r{bar}", end="", file=sys.stderr, flush=True)
    if shown:
        print(file=sys.stderr)
