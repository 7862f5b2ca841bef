"""Nobody can go on: who waits for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .process import Process

if TYPE_CHECKING:
    from .machine import ExploredMachine


def wait_cycle(machine: ExploredMachine) -> str:
    """Who waits for whom, when nobody can go on: the cycle, if there is one."""
    chain: list[str] = []
    seen: list[Process] = []
    process: Process | None = next(p for p in machine.processes.values() if p.point is not None)
    while process is not None and process not in seen:
        seen.append(process)
        text, process = _waits_for(machine, process)
        chain.append(text)
    if process is not None:
        chain = chain[seen.index(process) :]
    return "; ".join(chain)


def report_deadlock(machine: ExploredMachine) -> None:
    """Nobody can go on: say which locks are waited for, where they were taken, and
    who waits for whom.
    """
    stuck = [process for process in machine.processes.values() if process.point is not None]
    waiting = [
        process.point.awaited for process in stuck if process.point and machine.in_the_way(process) is None
    ]
    wanted = dict.fromkeys(str(getattr(what, "name", what)) for what in waiting if what is not None)
    places = tuple(hold.place for process in stuck for hold in process.context.held if hold.name in wanted)
    contexts = tuple(machine.check.describe(process.context) for process in stuck)
    machine.check.report(
        "deadlock",
        ", ".join(wanted),
        places,
        contexts=contexts,
        text=wait_cycle(machine),
        about=stuck[0].context,
    )


def _waits_for(machine: ExploredMachine, process: Process) -> tuple[str, Process | None]:
    name, what = process.context.name, process.point.awaited if process.point is not None else None
    blocker = machine.in_the_way(process)
    if blocker is not None:
        return f"{name} waits for its CPU, which {blocker.context.name} has", blocker
    owner = getattr(what, "owner", None)
    holders = (
        [owner] if owner is not None else sorted(getattr(what, "readers", ()), key=lambda reader: reader.id)
    )
    text = f"{name} waits for {getattr(what, 'name', what)}"
    if not holders:
        return text, None
    return f"{text}, held by {holders[0].name}", machine.process_of.get(holders[0])
