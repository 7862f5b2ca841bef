"""The explanations: what happened, where, and how it could stop the machine, in plain words.

Every function returns lines. A scenario is a table with one column per CPU, read downwards.
"""

from collections.abc import Sequence
from typing import NamedTuple

from .findings import Attempt
from .keys import EXCLUSIVE, HARDIRQS_OFF, HOW, SOFTIRQS_OFF, how
from .report import Held, Link


def opening(attempt: Attempt) -> str:
    """Where, who, with which interrupts on, does what."""
    irqs = ""
    if attempt.irqstate is not None:
        hard, soft = ("off" if attempt.irqstate & bit else "on" for bit in (HARDIRQS_OFF, SOFTIRQS_OFF))
        irqs = f" (hard irqs {hard}, soft irqs {soft})"
    return (
        f"At {attempt.site}, a {attempt.chain.context.name} context{irqs} {attempt.doing} "
        f"{attempt.lock.name} ({how(attempt.read, attempt.trylock)})"
    )


def table(steps: Sequence[tuple[int, str]]) -> list[str]:
    """Lines of a table: one line for each step `(cpu, words)`, in the column of its CPU."""
    cpus = 1 + max(cpu for cpu, _ in steps)
    widths = [max([4, *(len(words) for at, words in steps if at == cpu)]) + 3 for cpu in range(cpus)]
    rows = [[f"CPU{cpu}" for cpu in range(cpus)]]
    rows += [[words if cpu == at else "" for cpu in range(cpus)] for at, words in steps]
    return [
        "  " + "".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


_QUEUE = "(Where readers hold up readers, a writer waits in between: later readers queue behind it.)"


def recursion(attempt: Attempt, held: Held) -> list[str]:
    """A lock inside its equal, `held`."""
    name = attempt.lock.name
    readers = attempt.read != EXCLUSIVE and not held.how.startswith(HOW[EXCLUSIVE])
    return [
        f"{opening(attempt)},",
        f"but it already holds a lock of that class: {held}.",
        "If they are one lock, it waits for itself. If they are two, nothing says which comes first:",
        "where there is an order, take the inner one with a subclass of its own.",
        *([_QUEUE] if readers else []),
        "",
        *table([(0, f"takes {name}"), (0, f"waits for {name}")]),
    ]


def circular(attempt: Attempt, circle: Sequence[Link]) -> list[str]:
    """`circle` begins with the new link; the others were on record before."""
    new, *known = circle
    steps = [(cpu, _takes(link.prev, link.kind[0] == "S")) for cpu, link in enumerate(circle)]
    steps += [(cpu, f"waits for {link.next}") for cpu, link in enumerate(circle)]
    return [
        f"{opening(attempt)},",
        f"while it holds {new.prev}, taken at {new.held_at}.",
        "But these locks have been taken the other way round before:",
        *(f"  {link}" for link in known),
        "",
        "Each CPU below holds what the one before it wants:",
        *table(steps),
        *_queue_note(circle),
    ]


def _takes(name: str, reader: bool) -> str:
    return f"takes {name}" + (" as reader" if reader else "")


def _queue_note(path: Sequence[Link], reader: bool = False) -> list[str]:
    return ["", _QUEUE] if reader or any(link.kind[0] == "S" for link in path) else []


def inconsistent(attempt: Attempt, earlier: str, earlier_site: object, now: str, soft: bool) -> list[str]:
    """A class that is used inside an interrupt and held with it on."""
    name = attempt.lock.name
    return [
        f"{opening(attempt)}: {{{now}}}.",
        f"But the class was {{{earlier}}} at {earlier_site}.",
        f"A {interrupt(soft)} that comes while it is held, and takes it, waits for what it interrupted.",
        "",
        *table([(0, f"takes {name}"), (0, f"<{interrupt(soft)}>"), (0, f"waits for {name}")]),
    ]


def interrupt(soft: bool) -> str:
    """The sort of interrupt in words."""
    return "soft interrupt" if soft else "hard interrupt"


class End(NamedTuple):
    """One end of an order that interrupts can turn round: a class, how it is used, where it first was."""

    lock: str
    usage: str
    site: object


def irq_path(safe: End, path: Sequence[Link], unsafe: End, soft: bool) -> list[str]:
    """How a path from a safe to an unsafe class stops the CPUs on it."""
    reader = unsafe.usage.endswith("-R")
    steps = [(0, _takes(unsafe.lock, reader))]
    steps += [(cpu, _takes(link.prev, link.kind[0] == "S")) for cpu, link in enumerate(path, 1)]
    steps += [(cpu, f"waits for {link.next}") for cpu, link in enumerate(path, 1)]
    steps += [(0, f"<{interrupt(soft)}>"), (0, f"waits for {safe.lock}")]
    return [
        f"  {safe.lock} {{{safe.usage}}}: taken inside a {interrupt(soft)} at {safe.site}",
        f"  {unsafe.lock} {{{unsafe.usage}}}: held with them on at {unsafe.site}",
        *(f"  {link}" for link in path),
        "",
        "The interrupt can come in between:",
        *table(steps),
        *_queue_note(path, reader),
    ]


def wait_context(attempt: Attempt, outer: str, allowed: str, limit: str) -> list[str]:
    """A lock that waits in a way (`outer`) that its surroundings (`limit`) do not allow."""
    return [
        f"{opening(attempt)}.",
        f"Waiting for it is of type {outer}, but {limit} allows no more than {allowed}.",
        "A lock that sleeps must not be taken inside one that spins,",
        "nor one that sleeps on PREEMPT_RT inside one that never sleeps.",
    ]
