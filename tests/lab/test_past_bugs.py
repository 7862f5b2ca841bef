"""Schedules that once showed a bug still do: each entry of past_bugs.txt, replayed on the version
and scenario it names.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.explorer.saved import Saved, load_saved
from vtdkit.kernel.explored.exploring import replay
from vtdkit.lab.findings.looking import VERSIONS
from vtdkit.lab.scenarios.catalogue import SCENARIOS

SAVED = load_saved(Path(__file__).parent / "past_bugs.txt")


@pytest.mark.parametrize("saved", SAVED, ids=[saved.name for saved in SAVED])
def test_a_past_bug_shows_again(saved: Saved) -> None:
    version, scenario = saved.name.split()
    outcome = replay(SCENARIOS[scenario].on(VERSIONS[version]), saved.schedule).outcome
    assert any(saved.finding in repr(finding) for finding in outcome.findings)
