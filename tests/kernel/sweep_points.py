"""Functions that sweeps of the tests call, importable in another process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from vtdkit.kernel.machine.costs import IDEAL
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.machine.workload import Exponential, closed_loop


def throughput(point: dict[str, int]) -> dict[str, Any]:
    """A small simulation: `cpus` CPUs on one lock."""
    machine = Machine(point["cpus"], seed=point["seed"], costs=IDEAL, checkers=(), record=False)
    lock = machine.spinlock("lock")

    async def section(index: int) -> None:
        async with lock:
            await machine.work(100)

    load = closed_loop(machine, section, threads=point["cpus"], think=Exponential(300), count=50)
    machine.simulate()
    return {"done": load.result().done, "elapsed": load.result().elapsed}


def logged(point: list[Any]) -> int:
    """The square of a number; leaves a line in a file for each call, and can be slow or fail."""
    path, number, seconds = point
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{number}\n")
    if seconds < 0:
        raise ArithmeticError(f"point {number} fails")
    time.sleep(seconds)
    return int(number) ** 2
