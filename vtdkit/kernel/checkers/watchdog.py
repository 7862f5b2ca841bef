"""The watchdogs: who waits for ever, or for longer than the kernel allows.

A CPU that spins with hard interrupts on is a *soft lockup*: the timer interrupt still comes, and sees that no
other thread has run. One that spins with them off is seen by nobody on it; the NMI of another clock says
*hard LOCKUP*. A thread that sleeps is a hung task.

Mirrors, in purpose, kernel/watchdog.c, kernel/watchdog_hld.c and kernel/hung_task.c.
"""

from __future__ import annotations

from typing import Any

from vtdkit.kernel.locks.base import Lock
from vtdkit.kernel.machine.context import AGENT, HARD_OFF, TASK, Context
from vtdkit.kernel.machine.host import Host
from vtdkit.kernel.record.sites import Spot

HARD_LOCKUP = "NMI watchdog: Watchdog detected hard LOCKUP"
SOFT_LOCKUP = "watchdog: BUG: soft lockup"
HUNG_TASK = "INFO: task blocked for more than 120 seconds"
#: ns in one place before each speaks up: kernel.watchdog_thresh, twice that, kernel.hung_task_timeout_secs
PATIENCE = {HARD_LOCKUP: 10_000_000_000, SOFT_LOCKUP: 20_000_000_000, HUNG_TASK: 120_000_000_000}


def spins_for_ever(machine: Host, context: Context, lock: Lock, place: Spot) -> None:
    """A context spins for a lock that its own CPU holds below it: that cannot end."""
    who = next(
        (machine.check.describe(other) for other in lock.holders if other.cpu is context.cpu), "readers"
    )
    machine.check.report(
        _lockup(context),
        lock.name,
        (place, lock.place),
        contexts=(who,),
        text=f"CPU{context.cpu_id} spins for {lock.name}, which {who} holds; that context cannot run "
        "until this one ends",
    )


def look(machine: Host, all_over: bool) -> None:
    """After a simulation: threads that still wait although nothing is left to happen (`all_over`), or
    wait in a circle, or have waited for longer than the kernel's watchdogs allow."""
    check, now = machine.check, machine.sched.now
    for context in machine.sched.contexts:
        if context.done or context.kind == AGENT or context.waiting is None:
            continue
        asleep = context.kind == TASK and (context.cpu is None or context.cpu.task is not context)
        kind = HUNG_TASK if asleep else _lockup(context)
        name = getattr(context.waiting, "name", str(context.waiting))
        said = any(f.where == name and f.kind in (SOFT_LOCKUP, HARD_LOCKUP) for f in check.findings)
        chain = _waits(context)
        circle = chain[-1][2] is context and all(waits.waiting is not None for waits, *_ in chain)
        if not said and (all_over or now - context.since >= PATIENCE[kind] or circle):
            check.report(
                kind,
                name,
                tuple(hold.place for hold in context.held),
                contexts=(check.describe(context),),
                text=why_stuck(context),
                about=context,
            )


def why_stuck(context: Context) -> str:
    """Who waits for whom, from `context` on."""
    return ", ".join(
        f"{waits.name} waits for {what}" + (f" held by {owner.name}" if owner else "")
        for waits, what, owner in _waits(context)
    )


def _waits(context: Context) -> list[tuple[Context, Any, Context | None]]:
    """Who waits, for what, and who has that, from `context` on; to the end, or until it comes round."""
    chain: list[tuple[Context, Any, Context | None]] = []
    at: Context | None = context
    while at is not None and all(at is not waits for waits, *_ in chain):
        # of a lock that is shared, the first
        owner = next(iter(getattr(at.waiting, "holders", ())), None)
        what = getattr(at.waiting, "name", at.waiting)
        if at.waiting is None and at.cpu is not None and at.cpu.task not in (None, at):
            owner, what = at.cpu.task, f"CPU{at.cpu_id}"
        chain.append((at, what, owner))
        at = owner
    return chain


def _lockup(context: Context) -> str:
    """What the kernel calls it when this context keeps its CPU busy for too long."""
    return HARD_LOCKUP if context.irqstate & HARD_OFF else SOFT_LOCKUP
