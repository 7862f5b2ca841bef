"""Two runs of one scene side by side: each difference that matters, in a sentence.

The names of the kinds of differences are those of the table in `judge`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .watched import WARNING, Seen


def compare(
    ours: Seen, seen: Seen, names: Sequence[str], ignore: Sequence[str] = (), forbids: Sequence[str] = ()
) -> Iterator[str]:
    """Each difference of these kinds that matters, in a sentence; the most telling first."""
    if seen.died != ours.died and seen.died:
        yield f"the kernel does not survive it ({seen.died})"
        return
    yield from _forbidden(seen, forbids)
    for name in names:
        if name not in ignore:
            yield from _COMPARED[name](ours, seen)


def _findings(ours: Seen, seen: Seen) -> Iterator[str]:
    for key, text in seen.findings.items():
        if key not in ours.findings:
            yield text
        elif key == WARNING and seen.said[key] > ours.said[key]:
            yield f"it warns {seen.said[key]} times: {text}"
    for key, text in ours.findings.items():
        if key not in seen.findings:
            yield "it does not warn" if key == WARNING else f"it does not say what it should: {text}"


def _returns(ours: Seen, seen: Seen) -> Iterator[str]:
    if ours.returns == seen.returns:
        return
    if len(ours.returns) != len(seen.returns):
        yield f"it is called {len(seen.returns) - 1} times; {len(ours.returns) - 1} is right"
        return
    for mine, theirs in zip(ours.returns, seen.returns, strict=True):
        if mine != theirs:
            yield f"it returns {_short(theirs)}; {_short(mine)} is right"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _locks(ours: Seen, seen: Seen) -> Iterator[str]:
    needed, taken = {name for name, _ in ours.locks}, {name for name, _ in seen.locks}
    for name in sorted(taken - needed):
        yield f"it takes {name}, which is not needed here"
    for name in sorted(needed & taken):
        if (name, False) in seen.locks and (name, False) not in ours.locks:
            yield f"it takes {name} with interrupts on, and an interrupt may want it"


def _unlocked(ours: Seen, seen: Seen) -> Iterator[str]:
    for name in sorted({name for name, _ in ours.locks} - {name for name, _ in seen.locks}):
        yield f"it never takes {name}"


def _forbidden(seen: Seen, forbids: Sequence[str]) -> Iterator[str]:
    for name, _ in sorted(seen.locks):
        if name in forbids or "any" in forbids:
            yield f"it takes {name}"


def _under(ours: Seen, seen: Seen) -> Iterator[str]:
    for lock, what in sorted(seen.under - ours.under):
        done = what if what.startswith(("waits", "allocates", "frees")) else f"takes {what}"
        yield f"it {done} while it holds {lock}"


def _guards(ours: Seen, seen: Seen) -> Iterator[str]:
    for (thing, write), held in sorted(seen.guards.items()):
        for locks in sorted(held, key=sorted):
            wanted = ours.guards.get((thing, write))
            if wanted is None:
                # ours leaves it alone: whoever changes it elsewhere shows which lock it needs
                writers = ours.elsewhere.get((thing, True), set())
                needed = frozenset.intersection(*writers) if writers else frozenset[str]()
                missing = needed - locks
            elif any(each <= locks for each in wanted):
                continue
            else:
                missing = min((each - locks for each in wanted), key=lambda each: (len(each), sorted(each)))
            if missing:
                how = "written" if write else "read"
                yield f"{thing} is {how} without {' and '.join(sorted(missing))}"


def _allocations(ours: Seen, seen: Seen) -> Iterator[str]:
    if seen.allocations > ours.allocations:
        yield f"it allocates {seen.allocations} times; {ours.allocations} is enough"


def _commands(ours: Seen, seen: Seen) -> Iterator[str]:
    if seen.commands == ours.commands:
        return
    if [each[:2] for each in seen.commands] == [each[:2] for each in ours.commands]:
        yield "the unit is told too early or too late: its tables do not say then what they should"
    elif len(seen.commands) != len(ours.commands):
        yield f"it sends {len(seen.commands)} commands to the unit; {len(ours.commands)} is right"
    else:
        yield "it sends other commands to the unit, or in another order"


def _tables(ours: Seen, seen: Seen) -> Iterator[str]:
    for number, (mine, theirs) in enumerate(zip(ours.tables, seen.tables, strict=True)):
        if mine[1] != theirs[1]:
            yield f"unit {number}: what is switched on in the end is not what should be"
        if mine[0] != theirs[0]:
            yield f"in the end the tables of unit {number}, as the hardware reads them, say something else"


def _state(ours: Seen, seen: Seen) -> Iterator[str]:
    for name in sorted(ours.state.keys() | seen.state.keys()):
        if "qi" in name:
            continue  # the ring's counters follow from the commands
        mine, theirs = ours.state.get(name, "gone"), seen.state.get(name, "gone")
        if mine != theirs:
            yield f"in the end {name} is {_short(theirs)}; {_short(mine)} is right"


def _pages(ours: Seen, seen: Seen) -> Iterator[str]:
    if (more := seen.pages - ours.pages) > 0:
        yield f"{more} page{'s' * (more > 1)} not given back"
    elif more < 0:
        yield f"{-more} page{'s' * (more < -1)} given back that are still needed"


def _objects(ours: Seen, seen: Seen) -> Iterator[str]:
    for kind in sorted(ours.objects.keys() | seen.objects.keys()):
        more = seen.objects.get(kind, 0) - ours.objects.get(kind, 0)
        if more:
            yield f"{abs(more)} {kind} " + ("not freed" if more > 0 else "freed that is still needed")


def _references(ours: Seen, seen: Seen) -> Iterator[str]:
    for name, count in seen.references.items():
        right = ours.references.get(name, count)
        if count != right:
            yield f"{name} has {count} references in the end; {right} is right"


#: in which order differences are told; those of the second kind after every order has been tried
SEEN = (
    "returns",
    "findings",
    "commands",
    "locks",
    "under",
    "tables",
    "pages",
    "objects",
    "references",
    "state",
    "allocations",
)
LOCKED = ("guards", "unlocked")
_COMPARED: dict[str, Callable[[Seen, Seen], Iterator[str]]] = {
    "returns": _returns,
    "findings": _findings,
    "locks": _locks,
    "unlocked": _unlocked,
    "guards": _guards,
    "under": _under,
    "tables": _tables,
    "commands": _commands,
    "pages": _pages,
    "objects": _objects,
    "references": _references,
    "state": _state,
    "allocations": _allocations,
}
