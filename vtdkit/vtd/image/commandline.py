"""The verbs of this room: `inspect`, `check`, `quirks`.

Each takes its arguments and returns an exit status: 0, 1 when something disagrees, 2 when the input cannot be
used; then one line on standard error says which folder or file and what is wrong with it. `--json` prints the
same as data.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from vtdkit.vtd.quirks import PERSONALITIES, SWITCHES


def check(arguments: Sequence[str]) -> int:
    """Compare folders with the model: what does it is part of the tests, so it takes a clone."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "tests" / "reality_check" / "check.py").exists():
        print(
            "vtdkit check: what compares the model with real machines comes with its tests; run this in a "
            "clone of the project",
            file=sys.stderr,
        )
        return 2
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return int(importlib.import_module("tests.reality_check.check").main(arguments))


def inspect(arguments: Sequence[str]) -> int:
    """Print the tables of one folder."""
    from .inspect import inspect_folder

    parser = argparse.ArgumentParser(
        prog="vtdkit inspect",
        description="Print root, context and PASID entries and the ranges they map, the way the kernel's "
        "debugfs files do: raw entries first, then what they mean. Neighbouring pages are merged.",
    )
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--device", metavar="BDF", help="only this device, as in 00:03.0")
    parser.add_argument(
        "--limit", type=int, default=16, metavar="N", help="ranges shown per device (default 16)"
    )
    parser.add_argument(
        "--qemu", action="store_true", help="read the tables as the QEMU that the machine ran on does"
    )
    parser.add_argument("--json", action="store_true", help="print the same as data")
    options = parser.parse_args(arguments)
    if options.limit < 0:
        parser.error("--limit counts ranges; it cannot be negative")
    try:
        found = inspect_folder(options.folder, options.device, options.limit, options.qemu)
    except ValueError as error:
        print(f"vtdkit inspect: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(found.as_data(), indent=1))
    else:
        print(found.text())
    return 0


def quirks(arguments: Sequence[str]) -> int:
    """List the personalities and their switches."""
    parser = argparse.ArgumentParser(
        prog="vtdkit quirks",
        description="List every difference between the specification and an emulator's behaviour that the "
        "model has a switch for: its name, which personalities have it on, and what it does.",
    )
    parser.add_argument("--json", action="store_true", help="print the same as data")
    options = parser.parse_args(arguments)
    rows = [
        (switch, [name for name, on in PERSONALITIES.items() if getattr(on, switch)], why)
        for switch, why in SWITCHES.items()
    ]
    if options.json:
        print(json.dumps([{"name": n, "on_in": p, "why": w} for n, p, w in rows], indent=1))
        return 0
    for name, on, why in rows:
        print(f"{name}  [{', '.join(on)}]\n    {why}")
    print(f"\n{len(rows)} switches; in the specification personality all are off.")
    return 0
