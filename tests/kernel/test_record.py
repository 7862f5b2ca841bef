"""The record: its parts, and the file it is saved in; files that are not what they say they are."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vtdkit
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.record.record import COLUMNS, KINDS, Trace
from vtdkit.kernel.record.traceio import TraceError

RUN = """
from vtdkit.kernel import Exponential, Machine, closed_loop

def busy_machine(seed=7):
    machine = Machine(4, seed=seed, sockets=2)
    lock, mutex, sem = machine.spinlock("lock"), machine.mutex("mutex"), machine.rwsem("sem")
    shared = machine.list_head("shared")

    async def body(index):
        page = await machine.alloc_page(name="table")
        async with lock.irqsave():
            await machine.work(machine.random.randrange(200))
        async with mutex:
            await machine.work(50)
            async with sem.read():
                await page.store(index, index)
        await machine.free_page(page)
        if index == 2:
            machine.mark("thread 2 \\N{EM DASH} again")
            await lock.release()

    closed_loop(machine, body, threads=6, think=Exponential(300), count=5)
    async def on_irq():
        async with lock:
            await machine.work(30)
    machine.irq_line("nic", on_irq, cpu=1).fire(500)
    return machine
"""
scope: dict[str, Any] = {}
exec(compile(RUN, "tests/busy.py", "exec"), scope)


def busy() -> Trace:
    """A record with every sort of thing in it: locks of three kinds, pages,
    an interrupt, notes, findings.
    """
    trace = scope["busy_machine"]().simulate()
    assert isinstance(trace, Trace)
    return trace


@pytest.fixture(scope="module")
def trace() -> Trace:
    return busy()


@pytest.fixture
def saved(trace: Trace, tmp_path: Path) -> Path:
    path = tmp_path / "run.npz"
    trace.save(path)
    return path


def same(one: Trace, other: Trace) -> bool:
    """Are all parts of two traces equal?"""
    return all(getattr(one, name) == getattr(other, name) for name in vars(one))


# -- parts --------------------------------------------------------------------


def test_the_run_has_every_sort_of_event_that_matters_here(trace: Trace) -> None:
    kinds = {event.kind for event in trace}
    assert kinds >= {
        "run",
        "end",
        "spin",
        "acquire",
        "release",
        "irq_off",
        "irq_on",
        "irq_enter",
        "irq_exit",
        "alloc",
        "free",
        "mark",
        "finding",
    }
    assert any("bad unlock balance" in finding.kind for finding in trace.findings)


def test_where_and_between_pick_the_same_events_as_looking_at_each(trace: Trace) -> None:
    def picked(part: Trace) -> list[Any]:
        return list(part)

    events = list(trace)
    assert picked(trace.where(kind="acquire")) == [e for e in events if e.kind == "acquire"]
    assert picked(trace.where(kind=("spin", "mark"), cpu=2)) == [
        e for e in events if e.kind in ("spin", "mark") and e.cpu == 2
    ]
    assert picked(trace.where(object="lock", context="thread3")) == [
        e for e in events if "lock" in e.object and "thread3" in e.context
    ]
    assert picked(trace.between(400, 900)) == [e for e in events if 400 <= e.time < 900]
    assert picked(trace[10:20:3]) == events[10:20:3]
    assert trace[-1] == events[-1]
    assert trace.where() is trace


def test_without_numpy_the_parts_are_the_same(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = trace.where(kind=("acquire", "release"), cpu=1)
    monkeypatch.setitem(sys.modules, "numpy", None)
    slow = trace.where(kind=("acquire", "release"), cpu=1)
    assert same(slow, quick)
    assert len(slow) > 3


def test_a_wrong_name_or_index_says_what_there_is(trace: Trace) -> None:
    with pytest.raises(ValueError, match=r"no kind of event 'aquire'; there are run, .*acquire"):
        trace.where(kind="aquire")
    with pytest.raises(KeyError, match="no column 'times'; its columns are time, cpu"):
        trace.column("times")
    with pytest.raises(IndexError, match=f"of a trace of {len(trace)}"):
        trace[len(trace)]


def test_an_event_is_kept_in_thirty_one_bytes(trace: Trace) -> None:
    assert sum(column.itemsize for column in trace.columns) == 31
    assert [column.itemsize * len(column) for column in trace.columns] == [
        len(trace) * n for n in (8, 2, 4, 1, 4, 4, 8)
    ]


# -- files --------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_a_saved_record_comes_back_whole(trace: Trace, tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "run.npz"
    trace.save(path, compress=compress)
    assert same(Trace.load(path), trace)


def test_numpy_reads_the_file_without_pickle(trace: Trace, saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as arrays:
        assert set(arrays.files) == {*COLUMNS, "names"}
        for name in COLUMNS:
            assert arrays[name].tolist() == list(trace.column(name))
        assert json.loads(arrays["names"].tobytes())["objects"] == list(trace.objects)


def test_a_file_that_numpy_wrote_is_read_too(trace: Trace, saved: Path, tmp_path: Path) -> None:
    with np.load(saved) as arrays:
        np.savez(tmp_path / "again.npz", **{name: arrays[name] for name in arrays.files})
    assert same(Trace.load(tmp_path / "again.npz"), trace)


def test_an_empty_record_can_be_saved(tmp_path: Path) -> None:
    Machine().trace().save(tmp_path / "empty.npz")
    assert len(Trace.load(tmp_path / "empty.npz")) == 0


def test_the_same_seed_gives_the_same_bytes_whatever_python_hashes_by(tmp_path: Path) -> None:
    script = RUN + "import sys\nbusy_machine(int(sys.argv[2])).simulate().save(sys.argv[1])"
    files = []
    for number, (hashing, seed) in enumerate((("0", "7"), ("1234", "7"), ("0", "8"))):
        path = tmp_path / f"{number}.npz"
        root = str(Path(vtdkit.__file__).parent.parent)
        env = {**os.environ, "PYTHONHASHSEED": hashing, "PYTHONPATH": root}
        (tmp_path / "busy.py").write_text(script, encoding="utf-8")
        subprocess.run(
            [sys.executable, str(tmp_path / "busy.py"), str(path), seed], env=env, check=True, timeout=60
        )
        files.append(path.read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


# -- hostile files ------------------------------------------------------------


def rewritten(path: Path, **members: bytes | None) -> Path:
    """The file with some members replaced (None: left out)."""
    with zipfile.ZipFile(path) as file:
        parts = {info.filename: file.read(info) for info in file.infolist()}
    parts.update({f"{name}.npy": data for name, data in members.items()})  # type: ignore[misc]
    with zipfile.ZipFile(path, "w") as file:
        for name, data in parts.items():
            if data is not None:
                file.writestr(name, data)
    return path


def npy(values: Any, dtype: str) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(values, dtype=dtype))
    return file.getvalue()


def renamed(path: Path, **changes: Any) -> Path:
    """The file with some of its names changed."""
    with np.load(path) as arrays:
        names = json.loads(arrays["names"].tobytes())
    names.update(changes)
    return rewritten(path, names=npy(list(json.dumps(names).encode()), "|u1"))


def refuses(path: Path, words: str) -> None:
    """`load` says no in one line that names the file and has these words."""
    with pytest.raises(TraceError, match=words) as caught:
        Trace.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


def column(trace: Trace, name: str, **changes: int) -> list[int]:
    """A column with one number changed: `at` and `to`."""
    values = list(trace.column(name))
    values[changes["at"]] = changes["to"]
    return values


@pytest.mark.parametrize(
    ("name", "dtype", "at", "to", "words"),
    [
        ("kind", "|i1", 3, len(KINDS), "kind.npy has a number outside 0..16"),
        ("kind", "|i1", 3, -1, "kind.npy has a number outside"),
        ("object", "<i4", 3, 1 << 30, "object.npy has a number outside"),
        ("context", "<i4", 3, -5, "context.npy has a number outside"),
        ("site", "<i4", 3, 9999, "site.npy has a number outside"),
        ("cpu", "<i2", 3, 4, "cpu.npy has a number outside -1..3"),
        ("time", "<i8", 0, 1 << 61, "time.npy has a number outside"),
        ("time", "<i8", 5, 0, "time.npy goes back in time"),
    ],
)
def test_numbers_that_point_nowhere_are_refused(
    trace: Trace,
    saved: Path,
    name: str,
    dtype: str,
    at: int,
    to: int,
    words: str,
) -> None:
    if words.endswith("back in time"):
        at = len(trace) - 1
    refuses(rewritten(saved, **{name: npy(column(trace, name, at=at, to=to), dtype)}), words)


def test_notes_and_findings_that_are_not_there_are_refused(trace: Trace, saved: Path) -> None:
    refuses(renamed(saved, marks=[]), "a mark that is not in the list")
    trace.save(saved)
    refuses(renamed(saved, findings=[]), "a finding that is not in the list")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "another"}, "does not say that this is a vtdkit trace"),
        ({"version": 99}, "saved by another version of vtdkit: format 99"),
        ({"event_kinds": ["run"]}, "another version"),
        ({"cpus": 1 << 40}, "'cpus' is 1099511627776, not a number from 1 to 1024"),
        ({"cpus": True}, "'cpus' is True"),
        ({"end": -1}, "'end' is -1"),
        ({"contexts": "boot"}, "'contexts' is not a list"),
        ({"objects": [1]}, "is not a text"),
        ({"objects": ["\ud800"]}, "is not a text"),
        ({"sites": [["f", "file"]]}, "is not a place"),
        ({"findings": ["none"]}, "is not a finding"),
        ({"findings": [{"kind": 3}]}, "is not a text"),
        ({"kinds": []}, "not as many kinds as names"),
    ],
)
def test_names_that_are_not_sound_are_refused(saved: Path, changes: dict[str, Any], words: str) -> None:
    refuses(renamed(saved, **changes), words)


@pytest.mark.parametrize(
    ("member", "data", "words"),
    [
        ("time", npy([0.5], "<f8"), "does not begin as an array of numbers"),
        ("time", npy([0], "<i4"), "holds <i4 numbers, not <i8"),
        ("time", npy([0], ">i8"), "does not begin as an array of numbers"),
        ("time", npy([[0]], "<i8"), "does not begin as an array of numbers"),
        ("time", npy([0, 1], "<i8")[:-8], "cut short: 2 numbers promised"),
        ("time", npy([0, 1], "<i8"), "differ in length"),
        ("time", b"", "does not begin as an array"),
        ("time", None, "time.npy is missing"),
        ("names", None, "names.npy is missing"),
        ("names", npy(list(b"[" * 100_000), "|u1"), "holds no JSON"),
        ("names", npy(list(b"\xff"), "|u1"), "holds no JSON"),
        ("names", npy(list(b"[]"), "|u1"), "does not say that this is a vtdkit trace"),
    ],
)
def test_arrays_that_are_not_what_they_should_be_are_refused(
    saved: Path, member: str, data: bytes | None, words: str
) -> None:
    refuses(rewritten(saved, **{member: data}), words)


class Exploding:
    """An object whose unpickling would leave a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


def test_a_pickled_array_is_refused_and_not_unpickled(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = io.BytesIO()
    np.save(file, np.array([Exploding()], dtype=object), allow_pickle=True)
    refuses(rewritten(saved, time=file.getvalue()), "does not begin as an array of numbers")
    assert not (tmp_path / "unpickled").exists()


def test_absurd_sizes_cost_no_memory(saved: Path, tmp_path: Path) -> None:
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (999999999999,), }".ljust(117) + b"\n"
    promises = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file, file.open("names.npy", "w") as member:
        for _ in range(64):
            member.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        refuses(rewritten(saved, time=promises), "cut short: 999999999999 numbers promised")
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        refuses(bomb, "names.npy has 67108864 bytes; at most 16777216 are read")
        assert tracemalloc.get_traced_memory()[1] - before < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_directory_that_lies_about_sizes_is_refused(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = (64).to_bytes(4, "little")  # what the first member unpacks to
    saved.write_bytes(bytes(data))
    refuses(saved, ".")


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_cut_or_changed_files_give_one_clear_error_or_a_sound_record(data: st.DataObject) -> None:
    whole = WHOLE
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        spot = data.draw(st.integers(0, len(whole) - 1))
        damaged = whole[:spot] + bytes([data.draw(st.integers(0, 255))]) + whole[spot + 1 :]
    DAMAGED.write_bytes(damaged)
    found, words = Machine().trace(), ""
    try:
        found = Trace.load(DAMAGED)
    except TraceError as error:
        words = str(error)
    assert "\n" not in words
    assert len(list(found)) == len(found)


@pytest.fixture(autouse=True, scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    global WHOLE, DAMAGED
    DAMAGED = tmp_path_factory.mktemp("damaged") / "run.npz"
    busy().save(DAMAGED)
    WHOLE = DAMAGED.read_bytes()


WHOLE: bytes
DAMAGED: Path


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    for name, data in (("empty", b""), ("text", b"hello" * 100), ("end only", b"PK\x05\x06" + bytes(18))):
        path = tmp_path / name
        path.write_bytes(data)
        refuses(path, "not end as an .npz file|names.npy is missing")
    with pytest.raises(FileNotFoundError):
        Trace.load(tmp_path / "nothing")
