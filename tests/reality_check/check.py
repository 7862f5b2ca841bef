"""`vtdkit check FOLDER…`: does the model agree with what real machines did?

Each folder is an image with oracles (see `image`, `oracle`). One line per folder:

    NAME: translations A/B, faults C/D, kernel_live …, vfio_live …, replayed …, mutations …, …

Verdicts are compared in the qemu personality, because QEMU gave them. `specification` counts the same
translations in the specification personality; it is told, not judged, since an emulated machine may rely on
what its emulator lets pass. `stale listed` tells how many of the emulator's stale translations were recorded.
Everything else must agree completely.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtdkit.vtd.image import stale
from vtdkit.vtd.image.image import BadImage, Image
from vtdkit.vtd.image.npz import BadFile
from vtdkit.vtd.image.survey import Survey
from vtdkit.vtd.quirks import version_number
from vtdkit.vtd.unit.unit import RemappingUnit

from . import compare, replay_queue
from .oracle import Oracle
from .tally import Tally


@dataclass(frozen=True, slots=True)
class Report:
    """What checking one folder found. `told` are counts that are reported but not required to be complete."""

    name: str
    personality: str
    tallies: tuple[Tally, ...]
    told: tuple[Tally, ...]

    @property
    def agrees(self) -> bool:
        return all(tally.complete for tally in self.tallies)

    @property
    def problems(self) -> list[str]:
        return [problem for tally in self.tallies for problem in tally.problems]

    def line(self) -> str:
        """The one line that stands for the folder."""
        counts = ", ".join(str(tally) for tally in self.tallies)
        told = "".join(f"; {tally}" for tally in self.told)
        return f"{self.name}: {counts} (personality {self.personality}){told}"

    def as_data(self) -> dict[str, Any]:
        """The same as plain data, for `--json`."""
        return {
            "name": self.name,
            "personality": self.personality,
            "agrees": self.agrees,
            "counts": {t.name: [t.agree, t.total] for t in (*self.tallies, *self.told)},
            "problems": self.problems,
            "notes": [problem for tally in self.told for problem in tally.problems[:1]],
        }


def check_folder(folder: str | Path) -> Report:
    """Compare the model with every oracle of a folder. Raises BadFile or BadImage when it cannot be read."""
    image = Image.load(folder)
    oracle = Oracle(image)
    try:
        return _check(image, oracle)
    except BadImage as error:
        raise BadImage(f"{image.name}: {error}") from None


def _check(image: Image, oracle: Oracle) -> Report:
    oracle.read()
    unit = image.unit_as("qemu", cached=False)
    _look_through(unit)
    strict = image.unit_as(cached=False)
    explained = Tally("stale explained")
    for entry in stale.explain(image):
        explained.add(entry.explained, repr(entry))
    tallies = (
        compare.translations(unit, oracle),
        compare.faults(unit, oracle),
        compare.kernel_live(unit, oracle),
        compare.vfio_live(unit, oracle),
        compare.replayed(image, oracle),
        compare.mutations(image, oracle),
        replay_queue.compare(image, oracle),
        compare.interrupts((unit, strict), oracle),
        compare.pass_through(unit, oracle),
        compare.records(image, oracle),
        compare.dmar(image),
        compare.registers(image),
        explained,
    )
    told = (compare.translations(strict, oracle, "specification translations"), _listed(oracle))
    version = version_number(oracle.replayed_by)
    return Report(image.name, f"qemu {version}", tallies, tuple(tally for tally in told if tally.total))


def _listed(oracle: Oracle) -> Tally:
    """How many of the stale translations that QEMU held are in the recording; only those can be explained."""
    listed, held = len(oracle.stale), max(oracle.stale_count, len(oracle.stale))
    short = (
        [f"QEMU held {held} stale translations; the recording lists {listed} of them"]
        if listed < held
        else []
    )
    return Tally("stale listed", listed, held, short)


def _look_through(unit: RemappingUnit) -> None:
    """Follow every device's tables once, before anything is compared. Raises BadImage if they loop or name
    far too many devices.
    """
    survey = Survey(unit)
    for found in survey.attached():
        if found.space:
            survey.pages(found.space)


UNREADABLE = (BadFile, BadImage)


def main(arguments: Sequence[str]) -> int:
    """Compare folders with the model."""
    parser = argparse.ArgumentParser(
        prog="vtdkit check",
        description="Compare the model with every oracle in the folders. Verdicts by QEMU are compared in "
        "the qemu personality; each line says which. Exit status 1: something disagrees; 2: "
        "a folder cannot be read.",
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


def _print_report(report: Report) -> None:
    print(report.line(), flush=True)
    for problem in report.problems:
        print(f"  disagrees: {problem}")
    for tally in report.told:
        if not tally.complete:
            print(f"  note: {tally.problems[0]}")
