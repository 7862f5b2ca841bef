"""The point of no return: found by trying every way to go on, given up honestly when the
budget is used up.
"""

from __future__ import annotations

from typing import Any

from tests.lab.test_steps import crossing
from vtdkit.kernel.explored.scenario import NamedSystem
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.lab.steps.inevitable import first_inevitable
from vtdkit.lab.steps.schedule import record_schedule
from vtdkit.series.catalogue import driver_at

DEADLOCK = ("deadlock", "b, a")


def system() -> NamedSystem:
    shared = NamedSystem(crossing, grow=True)
    for order in (("one", "two"), ("two", "one")):
        shared.start()
        while enabled := shared.enabled():
            shared.step(next(name for name in order if name in enabled))
    shared.close()
    return NamedSystem(crossing, shared=frozenset(shared.locations.shared), grow=True)


def test_two_threads_with_one_lock_each_cannot_get_out() -> None:
    order = ["one", "one", "two", "two"]
    step, how = first_inevitable(system, order, DEADLOCK, len(order))
    assert step == 4
    assert how.startswith("every way to go on from there was tried")


def test_too_small_a_budget_does_not_settle_it_and_says_so() -> None:
    steps = record_schedule(SCENARIOS["dump-free"].on(driver_at(1)), "cat*3 close cat close*3", budget=3)
    assert steps.findings
    assert (steps.inevitable, steps.how) == (
        None,
        "the mark is where the finding appears; 3 executions did not settle where it became inevitable",
    )


def test_what_always_happens_was_inevitable_from_the_start() -> None:
    def alone(machine: Machine) -> Any:
        """One thread that reads what it has freed, whatever happens."""

        async def free() -> None:
            page = await machine.alloc_page(name="page")
            await machine.free_page(page)
            await page.load(0)

        machine.spawn(free(), cpu=0, name="free")
        return lambda: "done"

    steps = record_schedule(alone)
    assert [found.title.split(":")[0] for found in steps.findings] == ["BUG"]
    assert (steps.inevitable, steps.how) == (0, "there is no order without it (1 execution)")
