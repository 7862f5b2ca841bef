"""The verbs of this room: `inspect`, `check`, `quirks`.

Each takes its arguments and returns an exit status: 0, 1 when something disagrees, 2 when the input cannot be
used; then one line on standard error says which folder or file and what is wrong with it. `--json` prints the
same as data.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import fields

from vtdkit.vtd.quirks import PERSONALITIES, Quirks


def check(arguments: Sequence[str]) -> int:
    """Compare folders with the model."""
    from .check import UNREADABLE, Report, check_folder

    parser = argparse.ArgumentParser(
        prog="python -m vtdkit check",
        description="Compare the model with every oracle in the folders. Verdicts by QEMU are compared in "
        "the qemu personality; each line says which. Exit status 1: something disagrees; 2: a folder cannot "
        "be read.",
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--json", action="store_true", help="print the counts as data")
    options = parser.parse_args(arguments)
    reports: list[Report] = []
    unreadable = 0
    for folder in options.folders:
        try:
            report = check_folder(folder)
        except UNREADABLE as error:
            print(f"vtdkit check: {error}", file=sys.stderr)
            unreadable += 1
            continue
        reports.append(report)
        if not options.json:
            _print_report(report)
    if options.json:
        print(json.dumps([report.as_data() for report in reports], indent=1))
    if unreadable:
        return 2
    return 0 if all(report.agrees for report in reports) else 1


def _print_report(report: object) -> None:
    from .check import Report

    assert isinstance(report, Report)
    print(report.line(), flush=True)
    for problem in report.problems:
        print(f"  disagrees: {problem}")
    for tally in report.told:
        if not tally.complete:
            print(f"  note: {tally.problems[0]}")


def inspect(arguments: Sequence[str]) -> int:
    """Print the tables of one folder."""
    from .check import UNREADABLE
    from .inspect import inspect_folder

    parser = argparse.ArgumentParser(
        prog="python -m vtdkit inspect",
        description="Print root, context and PASID entries and the ranges they map, the way the kernel's "
        "debugfs files do: raw entries first, then what they mean. Neighbouring pages are merged.",
    )
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--device", metavar="BDF", help="only this device, as in 00:03.0")
    parser.add_argument(
        "--limit", type=int, default=16, metavar="N", help="ranges shown per device (default 16)"
    )
    parser.add_argument("--json", action="store_true", help="print the same as data")
    options = parser.parse_args(arguments)
    if options.limit < 0:
        parser.error("--limit counts ranges; it cannot be negative")
    try:
        found = inspect_folder(options.folder, options.device, options.limit)
    except (*UNREADABLE, ValueError) as error:
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
        prog="python -m vtdkit quirks",
        description="List every difference between the specification and an emulator's behaviour that the "
        "model has a switch for: its name, which personalities have it on, and what it does.",
    )
    parser.add_argument("--json", action="store_true", help="print the same as data")
    options = parser.parse_args(arguments)
    rows = [
        (f.name, [name for name, on in PERSONALITIES.items() if getattr(on, f.name)], str(f.metadata["why"]))
        for f in fields(Quirks)
    ]
    if options.json:
        print(json.dumps([{"name": n, "on_in": p, "why": w} for n, p, w in rows], indent=1))
        return 0
    for name, on, why in rows:
        print(f"{name}  [{', '.join(on)}]\n    {why}")
    print(f"\n{len(rows)} switches; in the specification personality all are off.")
    return 0
