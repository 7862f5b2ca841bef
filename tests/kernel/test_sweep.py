"""Sweeps: serial, on processes, on a real dask cluster; taken up again after an error and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import vtdkit
from vtdkit.kernel.machine.sweep import SweepError, sweep

sys.path.insert(0, str(Path(__file__).parent))
from sweep_points import logged, throughput

POINTS = [{"cpus": cpus, "seed": seed} for cpus in (1, 2, 4) for seed in (1, 2)]


def calls(log: Path) -> list[int]:
    """The numbers `logged` was called with."""
    return [int(line) for line in log.read_text(encoding="utf-8").split()] if log.exists() else []


def test_results_come_in_the_order_of_the_parameters() -> None:
    found = sweep(throughput, POINTS)
    assert [result["done"] for result in found] == [50, 50, 100, 100, 200, 200]
    assert found[0] != found[1]
    assert sweep(throughput, iter(POINTS)) == found
    assert sweep(throughput, []) == []


def test_threads_and_processes_give_what_one_after_the_other_gives() -> None:
    expected = sweep(throughput, POINTS)
    with ThreadPoolExecutor(2) as threads:
        assert sweep(throughput, POINTS, threads) == expected
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        assert sweep(throughput, POINTS, processes) == expected


def test_a_dask_cluster_gives_the_same_and_is_resumed(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    file = tmp_path / "points.jsonl"
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=50,
        local_directory=str(tmp_path),
    )
    with cluster, distributed.Client(cluster) as client:
        client.run(sys.path.insert, 0, str(Path(__file__).parent))
        executor = client.get_executor()
        assert sweep(throughput, POINTS[:3], executor, resume=file) == sweep(throughput, POINTS[:3])
        kept = file.read_text(encoding="utf-8").splitlines()
        assert len(kept) == 1 + 3
        assert sweep(throughput, POINTS, executor, resume=file) == sweep(throughput, POINTS)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[:4] == kept
    assert len(lines) == 1 + len(POINTS)


# -- taking up again ----------------------------------------------------------


def test_finished_points_are_not_run_again(tmp_path: Path) -> None:
    log, file = tmp_path / "log", tmp_path / "points.jsonl"
    points = [[str(log), n, 0] for n in range(4)]
    assert sweep(logged, points[:2], resume=file) == [0, 1]
    assert sweep(logged, points, resume=file) == [0, 1, 4, 9]
    assert sweep(logged, points[::-1], resume=file) == [9, 4, 1, 0]
    assert calls(log) == [0, 1, 2, 3]


def test_an_error_loses_no_point_that_was_finished(tmp_path: Path) -> None:
    log, file = tmp_path / "log", tmp_path / "points.jsonl"
    bad = [[str(log), n, -1 if n == 2 else 0] for n in range(4)]
    with pytest.raises(ArithmeticError, match="point 2 fails"):
        sweep(logged, bad, resume=file)
    good = [[str(log), n, 0] for n in range(4)]
    assert sweep(logged, good, resume=file) == [0, 1, 4, 9]
    assert calls(log) == [0, 1, 2, 2, 3]
    with ThreadPoolExecutor(1) as threads, pytest.raises(ArithmeticError, match="point 2 fails"):
        sweep(logged, bad, threads)
    assert calls(log)[5:8] == [0, 1, 2]


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from sweep_points import logged
from vtdkit.kernel.sweep import sweep
sweep(logged, [[sys.argv[2], n, 0 if n < 3 else 600] for n in range(6)], resume=sys.argv[3])
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX thing")
def test_a_killed_sweep_loses_only_the_points_in_flight(tmp_path: Path) -> None:
    log, file = tmp_path / "log", tmp_path / "points.jsonl"
    env = {**os.environ, "PYTHONPATH": str(Path(vtdkit.__file__).parent.parent)}
    here = str(Path(__file__).parent)
    child = subprocess.Popen([sys.executable, "-c", KILLED, here, str(log), str(file)], env=env)
    try:
        deadline = time.monotonic() + 60
        while calls(log) != [0, 1, 2, 3]:  # the fourth is in flight
            assert time.monotonic() < deadline, "the child did not get so far"
            assert child.poll() is None
            time.sleep(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert child.returncode == -signal.SIGKILL
    points = [[str(log), n, 0 if n < 3 else 600] for n in range(3)] + [[str(log), n, 0] for n in range(3, 6)]
    assert sweep(logged, points, resume=file) == [0, 1, 4, 9, 16, 25]
    assert calls(log) == [0, 1, 2, 3, 3, 4, 5]


def test_a_line_cut_short_by_a_kill_is_run_again(tmp_path: Path) -> None:
    log, file = tmp_path / "log", tmp_path / "points.jsonl"
    points = [[str(log), n, 0] for n in range(3)]
    sweep(logged, points, resume=file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    assert sweep(logged, points, resume=file) == [0, 1, 4]
    assert calls(log) == [0, 1, 2, 2]
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '{"sweep": "another:function", "version": 1}\n',
            "not points of sweep_points:logged; use another file",
        ),
        ("hello\n", "line 1: not a finished point"),
        ("[" * 100_000 + "\n", "line 1: not a finished point"),
        ('{"sweep": "sweep_points:logged", "version": 1}\n{"point": 3}\n', "line 2: not a finished point"),
        ('{"sweep": "sweep_points:logged", "version": 1}\n7\n', "line 2: not a finished point"),
    ],
)
def test_a_file_that_is_not_of_this_sweep_is_refused_and_left_alone(
    tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "points.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SweepError, match=words) as caught:
        sweep(logged, [[str(tmp_path / "log"), 1, 0]], resume=file)
    assert str(file) in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(file))
    assert file.read_text(encoding="utf-8") == text


def test_what_json_cannot_say_is_refused_before_it_is_lost(tmp_path: Path) -> None:
    def odd(point: Any) -> Any:
        return {1, 2}

    with pytest.raises(SweepError, match=r"the parameter \{1\} cannot be kept"):
        sweep(odd, [{1}], resume=tmp_path / "a.jsonl")
    with pytest.raises(SweepError, match="the result for 1 cannot be kept"):
        sweep(odd, [1], resume=tmp_path / "b.jsonl")
    assert sweep(odd, [1]) == [{1, 2}]


def test_kept_points_are_lines_of_json(tmp_path: Path) -> None:
    file = tmp_path / "points.jsonl"
    sweep(logged, [[str(tmp_path / "log"), 5, 0]], resume=file)
    header, point = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert header == {"sweep": "sweep_points:logged", "version": 1}
    assert point["result"] == 25


def test_the_bar_goes_to_stderr_and_counts_what_was_there_already(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tqdm")
    file = tmp_path / "points.jsonl"
    points = [[str(tmp_path / "log"), n, 0] for n in range(4)]
    sweep(logged, points[:3], resume=file)
    sweep(logged, points, resume=file, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "4/4" in err
