"""Two runs of one scene side by side, ours and a student's: each difference that matters, in a sentence.

The kinds of differences are those of the table in `judge`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from .watched import REGISTER, WARNING, Guards, Seen


def compare(
    ours: Seen, seen: Seen, forbids: Sequence[str] = (), allows: Sequence[str] = (), once: Sequence[str] = ()
) -> Iterator[str]:
    """Each difference that one run shows, the most telling first. Locks: those forbidden, those that do no
    harm, those to be taken no more often than in ours.
    """
    if seen.died and seen.died != ours.died:
        yield f"the kernel does not survive it ({seen.died})"
        return
    for name, _ in sorted(seen.locks):
        if name in forbids or "any" in forbids:
            yield f"it takes {name}"
    for name in once:
        if seen.times[name] > ours.times[name]:
            yield f"it takes {name} {seen.times[name]} times; {ours.times[name]} is enough"
    seen = replace(seen, locks={taken for taken in seen.locks if taken[0] not in allows})
    for part in (_returns, _findings, _commands, _locks, _under, _tables, _left, _stores, _state, _told):
        yield from part(ours, seen)
    if seen.allocations > ours.allocations:
        yield f"it allocates {seen.allocations} times; {ours.allocations} is enough"


def unlocked(ours: Seen, seen: Seen, guards: Guards) -> Iterator[str]:
    """What is done without a lock that it needs. `guards`: under which locks ours does it, in any scene."""
    for (thing, write), held in sorted(seen.guards.items()):
        wanted = guards.get((thing, write))
        if wanted is None:
            # ours leaves it alone: whoever changes it elsewhere shows which lock it needs
            writers = ours.elsewhere.get((thing, True), set())
            wanted = {frozenset.intersection(*writers)} if writers else {frozenset()}
        for locks in sorted(held, key=sorted):
            missing = min((each - locks for each in wanted), key=lambda each: (len(each), sorted(each)))
            if missing:
                how = "written" if write else "read"
                yield f"{thing} is {how} without {' and '.join(sorted(missing))}"
    for name in sorted({name for name, _ in ours.locks} - {name for name, _ in seen.locks}):
        yield f"it never takes {name}"


def _returns(ours: Seen, seen: Seen) -> Iterator[str]:
    if len(ours.returns) != len(seen.returns):
        yield f"it is called {len(seen.returns) - 1} times; {len(ours.returns) - 1} is right"
        return
    for mine, theirs in zip(ours.returns, seen.returns, strict=True):
        if mine != theirs:
            yield f"it returns {_short(theirs)}; {_short(mine)} is right"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _findings(ours: Seen, seen: Seen) -> Iterator[str]:
    for key, (text, times) in seen.findings.items():
        if key not in ours.findings:
            yield text
        elif key == WARNING and times > ours.findings[key][1]:
            yield f"it warns {times} times: {text}"
    for key, (text, _) in ours.findings.items():
        if key not in seen.findings:
            yield "it does not warn" if key == WARNING else f"it does not say what it should: {text}"


def _locks(ours: Seen, seen: Seen) -> Iterator[str]:
    needed = {name for name, _ in ours.locks}
    for name, irqs_off in sorted(seen.locks - ours.locks):
        if name not in needed:
            yield f"it takes {name}, which is not needed here"
        elif not irqs_off:
            yield f"it takes {name} with interrupts on, and an interrupt may want it"


def _under(ours: Seen, seen: Seen) -> Iterator[str]:
    for lock, what in sorted(seen.under - ours.under):
        done = what if what.startswith(("waits", "allocates", "frees")) else f"takes {what}"
        yield f"it {done} while it holds {lock}"
    if seen.sleeps and not ours.sleeps:
        yield "it may sleep, and it need not: nobody could call it where sleeping is forbidden"


def _commands(ours: Seen, seen: Seen) -> Iterator[str]:
    if len(seen.commands) != len(ours.commands):
        yield f"it sends {len(seen.commands)} commands to the unit; {len(ours.commands)} is right"
    elif [each[:2] for each in seen.commands] != [each[:2] for each in ours.commands]:
        yield "it sends other commands to the unit, or in another order"
    elif seen.commands != ours.commands:
        yield "the unit is told too early or too late: tables and lists do not say then what they should"


def _told(ours: Seen, seen: Seen) -> Iterator[str]:
    mine, theirs = ({each[:3] for each in told} for told in (ours.told, seen.told))
    for what, number, value, _ in sorted(ours.told ^ seen.told):
        thing = f"the cache lines of {number} {'entry' if number == 1 else 'entries'} back to memory"
        thing = f"{value:#x} to register {number:#x} of the unit" if what == REGISTER else thing
        if (what, number, value) not in theirs:
            yield f"it never writes {thing}"
        elif (what, number, value) not in mine:
            yield f"it writes {thing}, which is not needed here"
        else:
            yield f"it writes {thing} at another time: before what it changes, or after"


def _stores(ours: Seen, seen: Seen) -> Iterator[str]:
    for thing in sorted(seen.stored - ours.stored & ours.changed):
        yield f"{thing} is written by a plain store: what another CPU puts there meanwhile is lost"


def _tables(ours: Seen, seen: Seen) -> Iterator[str]:
    for number, (mine, theirs) in enumerate(zip(ours.tables, seen.tables, strict=True)):
        if mine[1] != theirs[1]:
            yield f"unit {number}: what is switched on in the end is not what should be"
        if mine[0] != theirs[0]:
            yield f"in the end the tables of unit {number}, as the hardware reads them, say something else"


def _left(ours: Seen, seen: Seen) -> Iterator[str]:
    for kind, of in {**ours.left, **seen.left}:
        more = seen.left[kind, of] - ours.left[kind, of]
        if more:
            many = f"{abs(more)} {kind}{'s' * (abs(more) > 1)}{of}"
            yield f"{many} not given back" if more > 0 else f"{many} given back that are still needed"


def _state(ours: Seen, seen: Seen) -> Iterator[str]:
    for name in sorted(ours.state.keys() | seen.state.keys()):
        mine, theirs = ours.state.get(name, "gone"), seen.state.get(name, "gone")
        if mine != theirs and "qi" not in name:  # the ring's counters follow from the commands
            yield f"in the end {name} is {_short(theirs)}; {_short(mine)} is right"
