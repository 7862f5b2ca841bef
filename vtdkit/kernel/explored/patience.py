"""Would a thread that looks at the same again and again give up in the end?

That is tried on a machine of its own, with nobody else moving after the last looks of the thread: it gives up
if it ends, waits, looks at anything else, or comes to a line where it was not in its rounds so far and is not
again and again. If it does not: how many kinds of thread can come in on its CPU where most can in its rounds?
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from .locations import Name

Line = tuple[Any, int]
# another way through the primitives, or Python's library, is no line of the thread's
OWN = "vtdkit.kernel.", "namedtuple_"
MANY = 250  # looks after which no line is new; as many more show which are not met again


class Lines:
    """Which lines of its own code a thread comes to, while it is let go on by `step`."""

    def __init__(self) -> None:
        self.met = set[Line]()

    def _trace(self, frame: FrameType, _: str, __: Any) -> Any:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(OWN) or module.partition(".")[0] in sys.stdlib_module_names:
            return None
        self.met.add((frame.f_code, frame.f_lineno))
        return self._trace

    def step(self, step: Callable[[Name], object], name: Name) -> None:
        """Take a step of the thread, and note its lines."""
        before, collects = sys.gettrace(), gc.isenabled()
        try:
            gc.disable()  # or threads of an earlier execution are put away meanwhile, and theirs are noted
            sys.settrace(self._trace)
            step(name)
        finally:
            if collects:
                gc.enable()
            sys.settrace(before)


def in_the_end(
    alone: Any,
    name: Name,
    before: list[tuple[Name, tuple[bool, int] | None]],
    since: int,
    looked: int,
    places: set[int],
) -> tuple[bool, int]:
    """Does a thread that looks at these places give up after these steps (each with what came of a trial
    after it), the last of which is its own? If not: how many kinds of thread can come in on its CPU again and
    again?

    `since`: with which of its steps the rounds begin that it has gone through so far, `looked`: how many
    looks they were. `alone` is a system of the scenario that has not begun.
    """
    alone.start()
    rounds = Lines()
    for number, (each, tried) in enumerate(before, 1):
        if number == len(before):  # from here on each thing it does is a step, and nothing makes it wait
            alone.locations.patient = alone.locations.everywhere = True
        if each == name and alone.machine.processes[name].steps + 1 >= since:
            rounds.step(alone.step, name)
        else:
            alone.step(each)
        if tried is not None:
            here = alone.machine.processes[each]
            here.sure, here.openest = tried
    process, known = alone.machine.processes[name], True
    # lines, and how many kinds could come in: after how many looks it was there last
    last, opens = dict[Line, int](), dict[int, int]()
    while (point := process.point) is None or not point.spins:
        if point is None or name not in alone.enabled():
            return True, 0
        known = known and (not process.looked or len(process.looks) < looked)
        lines = rounds if known else Lines()
        lines.step(alone.step, name)
        looks = process.looked or (process.point is not None and process.point.spins)
        if not known and (not looks or not process.looked.keys() <= places):
            return True, 0
        opens[process.isopen] = len(process.looks)
        last |= dict.fromkeys(lines.met - rounds.met, len(process.looks))
        if not last and len(process.looks) >= MANY * len(places):
            break
    half = len(process.looks) / 2
    return any(at < half for at in last.values()), max(each for each, at in opens.items() if at >= half)
