"""Reading what a real guest's kernel waited for; and files that are no such thing."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from users import REALITY

from lessons.lesson17.traces import LINE, WAITS_HEADER, BadTrace, LockTrace


def load(folder: Path, *lines: str) -> LockTrace:
    (folder / "contention.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode() + b"\n"))
    return LockTrace.load(folder)


@pytest.mark.parametrize(
    ("mode", "queue", "all_of_them", "lost"), [("strict", 2524, 2538, 692), ("lazy", 1, 66, 1)]
)
def test_the_counts_are_those_the_recorder_kept(mode: str, queue: int, all_of_them: int, lost: int) -> None:
    trace = LockTrace.load(REALITY / f"maps_smp4_{mode}-s0")
    assert trace.waits.get("qi_submit_sync", 0) == queue
    assert (sum(trace.waits.values()), trace.lost) == (all_of_them, lost)
    assert f"{all_of_them} waits, and {lost} without a stack" in repr(trace)


def test_who_waited_is_the_first_frame_that_is_no_locks_own(tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        WAITS_HEADER,
        "000,1.5,begin,ffff,SPIN,native_queued_spin_lock_slowpath < _raw_spin_lock_irqsave < f < g",
        "000,1.6,end,ffff,0,",
        "001,1.7,begin,ffff,READ,",
    )
    assert (dict(trace.waits), trace.lost) == ({"f": 1}, 1)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (("cpu,t", "1,2"), "the first line must be"),
        ((WAITS_HEADER, "0,1,begin"), "line 2: want cpu"),
        ((WAITS_HEADER, "0,1,wait,f,SPIN,"), "line 2: want cpu"),
        ((WAITS_HEADER, "x" * (LINE + 9)), f"a line of more than {LINE} characters"),
    ],
)
def test_other_files_get_one_clear_error(tmp_path: Path, lines: tuple[str, ...], says: str) -> None:
    with pytest.raises(BadTrace, match=says):
        load(tmp_path, *lines)


def test_a_folder_without_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadTrace, match="cannot be read"):
        LockTrace.load(tmp_path)
