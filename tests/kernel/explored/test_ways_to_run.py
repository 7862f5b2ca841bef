"""The ways to run a scenario: all of it, with a bound, a sample; the same each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vtdkit.kernel.explored.exploring import explore, sample
from vtdkit.lab.findings.looking import VERSIONS
from vtdkit.lab.scenarios.catalogue import SCENARIOS

BUILD = SCENARIOS["id-exhaustion"].on(VERSIONS["v0"])


@pytest.mark.parametrize("depth", [None, 3])
def test_random_schedules_find_the_deadlock_too(depth: int | None) -> None:
    build = SCENARIOS["unmap-irq"].on(VERSIONS["m11"])
    found = sample(build, runs=80, seed=1, depth=depth)
    assert found.of("deadlock")
    assert repr(found) == repr(sample(build, runs=80, seed=1, depth=depth))
    assert not found.complete


def test_a_bound_is_told() -> None:
    bounded = explore(BUILD, preemptions=0)
    assert not bounded.complete
    assert bounded.extent == "complete up to 0 preemptions"


def test_same_order_of_executions_on_two_hash_seeds() -> None:
    program = (
        "from vtdkit.kernel import explore, sample\n"
        "from vtdkit.lab.findings.looking import VERSIONS\n"
        "from vtdkit.lab.scenarios import SCENARIOS\n"
        "for name in ('fault-bus', 'dump-free'):\n"
        "    build = SCENARIOS[name].on(VERSIONS['v4'])\n"
        "    print(explore(build, on_outcome=lambda outcome, schedule: print(schedule.text)))\n"
        "    print(sample(build, runs=5, seed=3))\n"
    )
    told = []
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])}
        done = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        )
        told.append(done.stdout)
    assert told[0] == told[1]
    assert told[0].count("v1:") > 15
