"""CPU time of things done in turn, the least of several rounds: what the benchmarks
of the simulator share.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def timed(run: Callable[[], object]) -> float:
    """CPU seconds of one run."""
    began = time.process_time()
    run()
    return time.process_time() - began


def best(rounds: int, *makers: Callable[[], Callable[[], object]]) -> list[float]:
    """The least CPU seconds of each, all of them in turn in every round; setting up is not counted."""
    return [
        min(times) for times in zip(*([timed(make()) for make in makers] for _ in range(rounds)), strict=True)
    ]
