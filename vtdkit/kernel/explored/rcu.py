"""RCU as the explorer has it: a grace period is an interval, two steps of the schedule, and what
lies between is free.

Part of `explored`; the same operations as `rcu.Rcu`, with a scheduling point before each.
"""

from __future__ import annotations

from collections.abc import Callable
from types import coroutine
from typing import TYPE_CHECKING, Any

from vtdkit.kernel.locks.rcu import GracePeriod, Rcu
from vtdkit.kernel.machine.context import Context
from vtdkit.kernel.record.sites import here

from .locations import READ, WAIT, WRITE, Access
from .points import Doing, Point, Steps

if TYPE_CHECKING:
    from .machine import ExploredMachine

SYNCHRONIZE = "wait until all present RCU readers have left"


class XRcu(Rcu):
    """RCU: a grace period is two steps, its beginning and its end.

    Its beginning is ordered against every reader's entry and exit. Its end waits for one location for each
    reader that was inside, so that the order in which they leave does not matter.
    """

    machine: ExploredMachine

    @coroutine
    def read_lock(self) -> Steps:
        machine = self.machine
        if machine.steps.exploring and not machine.sched.current.rcu:
            yield from machine.stop(
                ((machine.location_of("rcu"), READ),), Doing("enter an RCU read-side section")
            )
        yield from super().read_lock()  # type: ignore[misc]  # a generator, see `DONE`

    @coroutine
    def read_unlock(self) -> Steps:
        machine = self.machine
        context = machine.sched.current
        if machine.steps.exploring and context.rcu == 1:
            yield from machine.stop(
                ((machine.location_of("rcu"), READ),), Doing("leave the RCU read-side section")
            )
            for period in self.open:
                if context in period.readers:
                    machine.touch(self._exit(period, context), WRITE)
        yield from super().read_unlock()  # type: ignore[misc]

    def begin(self) -> GracePeriod:
        period = super().begin()
        self.machine.location_of(period)  # now, and not when its first reader leaves
        return period

    def _exit(self, period: GracePeriod, reader: Context) -> int:
        """The location that stands for this reader's having left this grace period."""
        return self.machine.locations.number((self.machine.location_of(period), self.machine.name_of(reader)))

    def _end(self, period: GracePeriod) -> tuple[Access, ...]:
        names = sorted(self._exit(period, reader) for reader in period.readers)
        return tuple((number, WAIT) for number in names)

    @coroutine
    def synchronize(self, expedited: bool = False) -> Steps:
        machine = self.machine
        if not machine.steps.exploring:
            yield from super().synchronize(expedited)
            return
        if machine.sched.current.rcu:
            machine.check.rcu_misuse("Illegal synchronize_rcu() in RCU read-side critical section")
        machine.check.might_sleep(here())
        yield from machine.stop(((machine.location_of("rcu"), WRITE),), Doing(SYNCHRONIZE))
        period = self.begin()
        yield from machine.stop(self._end(period), Doing(SYNCHRONIZE, period), lambda: period.done)
        machine.check.order.observe(machine.sched.current, period)

    def call(self, function: Callable[[], Any], name: str = "rcu callback") -> None:
        machine = self.machine
        if not machine.steps.exploring:
            super().call(function, name)
            return
        machine.touch(machine.location_of("rcu"), WRITE)
        period = self.begin()
        machine.check.order.publish(machine.sched.current, period)

        async def callback() -> None:
            machine.check.order.observe(machine.sched.current, period)
            await function()

        point = Point(self._end(period), Doing("begin", period), lambda: period.done)
        machine.new_process(callback(), name, "softirq", machine.sched.current.cpu, point)
