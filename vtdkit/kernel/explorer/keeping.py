"""A search kept in a small JSON file, to be taken up another day.

The file holds what is still to be run and the counts. Outcomes and findings may be any Python values, so of
these only the texts are kept, with a schedule for each: taking up replays the schedule, which brings the
value back and shows at once if the system is no longer the same.

Names of processes and locations are numbers, texts, None, or tuples of these; a tuple
is written {"t": [...]}.
"""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Iterable
from pathlib import Path as File
from typing import Any

from .footprint import Footprints
from .packing import Packer, Unpacker
from .schedule import Schedule, ScheduleError, replay
from .system import KIND_NAMES, Outcome, Process, System
from .tally import Tally
from .tree import Node

FORMAT = "vtdkit exploration 1"
MOST_BYTES = 200_000_000


class KeptError(ValueError):
    """A file of a kept search cannot be read, or is of another system."""


def keep(file: str | File, root: Node, tally: Tally, depth: int | None) -> None:
    """Write what is done and what is left. TypeError if a process or a location has a name
    that JSON cannot hold.
    """
    packer = Packer()
    tree = packer.tree(root)
    numbers, outcomes, findings, pairs = tally.pack(packer)
    content = {
        "format": FORMAT,
        "depth": depth,
        "tree": _plain(tree),
        "numbers": numbers,
        "outcomes": [[repr(value), times, _plain(steps)] for value, times, steps in outcomes],
        "findings": [[repr(value), times, _plain(steps)] for value, times, steps in findings],
        "pairs": _plain(sorted(pairs, key=repr)),
        "table": _plain(packer.table),
    }
    path = File(file)
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
    os.replace(partial, path)


def take_up(
    file: str | File, system: System, footprints: Footprints, depth: int | None
) -> tuple[Node, Tally]:
    """Read a kept search of this system. KeptError says what does not fit."""
    path = File(file)
    if path.stat().st_size > MOST_BYTES:
        raise KeptError(f"{path.name} has {path.stat().st_size} bytes; at most {MOST_BYTES} are read")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise KeptError(f"{path.name} is not a kept exploration (format {FORMAT!r})")
        if content["depth"] != depth:
            raise KeptError(
                f"{path.name} was made with depth={content['depth']}; this search has depth={depth}"
            )
        table = [tuple(_access(access) for access in _value(row)) for row in content["table"]]
        unpacker = Unpacker(table, footprints)
        root = unpacker.tree([_value(row) for row in content["tree"]])
        packed = [_numbers(content["numbers"]), [], [], [_value(pair) for pair in content["pairs"]]]
        tally = Tally.unpack(packed, unpacker)
        lists = [
            [(str(text), int(times), _value(steps)) for text, times, steps in content[key]]
            for key in ("outcomes", "findings")
        ]
    except KeptError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise KeptError(f"{path.name} is damaged: {type(error).__name__}: {error}") from None
    for text, times, steps in lists[0]:
        value = _again(path.name, system, steps, text, lambda outcome: (outcome.value,))
        tally.outcomes[value], tally.first[value] = times, tuple(steps)
    for text, times, steps in lists[1]:
        value = _again(path.name, system, steps, text, lambda outcome: outcome.findings)
        tally.findings[value], tally.shown[value] = times, tuple(steps)
    return root, tally


def _again(name: str, system: System, steps: Iterable[Process], text: str, values: Any) -> Hashable:
    """Bring back a value of which only the text was kept."""
    try:
        outcome: Outcome = replay(system, Schedule(tuple(steps))).outcome
    except ScheduleError as error:
        raise KeptError(f"{name} is of another system: {error}") from None
    value: Hashable
    for value in values(outcome):
        if repr(value) == text:
            return value
    raise KeptError(f"{name} is of another system: the schedule kept for {text} no longer shows it")


def _access(access: Any) -> tuple[Hashable, int]:
    location, kind = access
    if kind not in range(len(KIND_NAMES)):
        raise ValueError(f"kind of access {kind!r}")
    return location, kind


def _numbers(numbers: Any) -> list[int]:
    if len(numbers) != 5 or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"counts {numbers!r}")
    return list(numbers)


def _plain(value: Any) -> Any:
    """Turn lists and tuples of names into what JSON can hold."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, tuple):
        return {"t": [_plain(part) for part in value]}
    raise TypeError(
        f"{value!r} names a process or a location, but JSON cannot hold it; use numbers, texts or tuples of "
        "these"
    )


def _value(plain: Any) -> Any:
    """Turn it back."""
    if isinstance(plain, list):
        return [_value(part) for part in plain]
    if isinstance(plain, dict):
        return tuple(_value(part) for part in plain["t"])
    return plain
