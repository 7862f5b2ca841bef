"""`vtdkit findings`: the table version × defect, or all of it as JSON."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.series.catalogue import SERIES
from vtdkit.series.mainline import versions as mainline

from .defects import DEFECTS
from .looking import VERSIONS, Seen, all_findings, number


def table(seen: Sequence[Seen], versions: Sequence[str]) -> str:
    """Which version has which defect: `#` seen, `.` not. Defects that nothing showed are left out."""
    having = [(defect, {one.version for one in seen if one.defect == defect}) for defect in DEFECTS]
    rows = [(one.name if one.real else f"({one.name})", where, one) for one, where in having if where]
    width = max((len(name) for name, _, _ in rows), default=0)
    lines = [f"{'':{width}}  {' '.join(f'{version:>3}' for version in versions)}"]
    lines += [
        f"{name:{width}}  {' '.join('  #' if version in where else '  .' for version in versions)}"
        for name, where, _ in rows
    ]
    lines += ["", *(f"{name:{width}}  {defect.about} [{defect.source}]" for name, _, defect in rows)]
    unknown = [one for one in seen if one.defect is None]
    return "\n".join(lines + [f"unexplained: {one!r}" for one in unknown])


def legend(versions: Sequence[str]) -> str:
    """What the version names mean."""
    titles = {f"v{info.number}": info.title if info.number else "before the series" for info in SERIES}
    titles |= {f"m{info.number}": info.title if info.number else "v5.19" for info in mainline.SERIES}
    lines = [f"{version:>3}  {titles[version]}" for version in versions]
    if any(version.startswith("m") for version in versions):
        lines += [
            "",
            "m1 to m11 are 5.19 plus so many commits of the series; m11 as in 6.0-rc1, m13 with the two",
            "fixes of 6.0-rc5. Other commits of 6.0 (the xarray of domain ids) are not in them.",
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """The verb. 0: everything seen is explained, 1: something is not, 2: the arguments cannot be used."""
    parser = argparse.ArgumentParser(
        "vtdkit findings",
        description="run every version of the driver and list which has which defect",
    )
    parser.add_argument(
        "versions",
        nargs="*",
        help="v0 to v12 (the series), m0 to m13 (mainline), 6.0-rc1, 6.0-rc5; all if none",
    )
    parser.add_argument(
        "--scenario",
        action="append",
        choices=list(SCENARIOS),
        metavar="NAME",
        help=f"only this one (may be given again): {', '.join(SCENARIOS)}",
    )
    parser.add_argument(
        "--json", action="store_true", help="every finding with functions, contexts and schedule"
    )
    parser.add_argument(
        "--limit",
        type=int,
        help="executions to explore first of what has too many orders (default: none)",
    )
    drawn = " or ".join(str(runs) for runs in sorted({each.runs for each in SCENARIOS.values() if each.why}))
    parser.add_argument("--runs", type=int, help=f"random orders of what has too many (default: {drawn})")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one for each CPU)"
    )
    options = parser.parse_args(arguments)
    try:
        versions = [number(version) for version in options.versions] or list(VERSIONS)
        if any(value is not None and value < 1 for value in (options.limit, options.runs, options.jobs)):
            raise KeyError("--limit, --runs and --jobs must be 1 or more")
    except KeyError as error:
        print(f"vtdkit findings: {error.args[0]}", file=sys.stderr)
        return 2
    # what is loaded by now stays: no collection of garbage need go through it again
    with ProcessPoolExecutor(min(options.jobs, os.cpu_count() or 1), initializer=gc.freeze) as executor:
        seen = all_findings(
            versions,
            options.scenario or tuple(SCENARIOS),
            limit=options.limit,
            runs=options.runs,
            executor=executor,
        )
    if options.json:
        print(json.dumps([one.as_json() for one in seen], indent=1))
    else:
        print(table(seen, versions), legend(versions), sep="\n\n")
    return int(any(one.defect is None for one in seen))
