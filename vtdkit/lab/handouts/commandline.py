"""The verb `handouts`: exit status 0, 1 if a notebook failed, 2 for input or tools that cannot be used."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .build import SLIDES, SOLUTIONS, STUDENT, build, run
from .execute import NotebookFailed
from .vendor import VendorError


def main(arguments: Sequence[str] | None = None) -> int:
    """Build handouts, or slides, and print where they are."""
    parser = argparse.ArgumentParser(
        prog="vtdkit handouts", description="make pages that move with no kernel and no network"
    )
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=Path("handouts"), help="folder to write into (handouts)")
    parser.add_argument(
        "--cache", type=Path, default=Path("build/npm"), help="where fetched packages are kept (build/npm)"
    )
    parser.add_argument("--slides", action="store_true", help="screens for a beamer instead of pages to read")
    parser.add_argument("--timeout", type=int, default=120, help="seconds a cell may take (120)")
    options = parser.parse_args(arguments)
    missing = [f"{path}: no such notebook" for path in options.notebooks if not path.is_file()]
    if missing or not options.notebooks:
        print((missing or ["no notebooks to build handouts from"])[0], file=sys.stderr)
        return 2
    editions = [SLIDES] if options.slides else [STUDENT, SOLUTIONS]
    try:
        sources = run(options.notebooks, timeout=options.timeout, say=print)
        for edition in editions:
            build(sources, edition, options.out / edition.folder, options.cache)
    except NotebookFailed as error:
        print(error, file=sys.stderr)
        return 1
    except (VendorError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    for edition in editions:
        print(f"{options.out / edition.folder / 'index.html'}: {len(options.notebooks)} notebooks")
    return 0
