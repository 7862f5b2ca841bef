"""Reading the recorded maps and unmaps: what belongs together, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from users import REALITY, recorded

from lessons.lesson17.traces import HEADER, MAX_LINE, BadTrace, MapTrace
from vtdkit.iommu.dma import MSI_RANGE, PCI_WINDOW


def trace_of(folder: Path, *lines: str, header: str = HEADER) -> MapTrace:
    path = folder / "maps.csv.gz"
    path.write_bytes(gzip.compress("\n".join([header, *lines]).encode()))
    return MapTrace.load(folder)


@pytest.mark.parametrize("mode", ["strict", "lazy"])
def test_every_event_of_a_recorded_trace_finds_its_place(mode: str) -> None:
    trace = recorded(mode)
    stats = json.loads((REALITY / f"maps_smp4_{mode}-s0" / "stats.json").read_text())
    assert len(trace.events) == stats["events_kept"]
    assert sum(event.op == "map" for event in trace.events) == stats["maps"]
    assert trace.cpus == 4
    assert trace.lazy is (mode == "lazy")
    assert set(trace.devices) == {name for name in stats["by_dev"] if name}
    mappings = trace.mappings()
    lines = sum((len(m.segments) if m.map_cpu >= 0 else 0) + (m.unmap_cpu >= 0) for m in mappings)
    assert lines == len(trace.events)
    assert sum(mapping.unmap_cpu >= 0 for mapping in mappings) == stats["unmaps"]
    earlier = sum(mapping.map_cpu < 0 for mapping in mappings)
    # the recorder lost the device of 22 maps; their unmaps say whose they were, so fewer count
    # as mapped earlier
    assert stats["first_seen_unmap_of_earlier_map"] - stats["unattributed_to_domain"] <= earlier
    assert earlier <= stats["first_seen_unmap_of_earlier_map"]


@pytest.mark.parametrize("mode", ["strict", "lazy"])
def test_linux_gave_out_addresses_by_the_rules_our_allocator_keeps(mode: str) -> None:
    for mapping in recorded(mode).mappings():
        align = 4096
        while align < mapping.size:
            align *= 2
        assert mapping.iova % align == 0 or mapping.unmap_cpu < 0  # a list that stays mapped shows in pieces
        assert mapping.iova + mapping.size <= 1 << 32
        for first, last in (PCI_WINDOW, MSI_RANGE):
            assert mapping.iova + mapping.size <= first or mapping.iova > last


def test_several_maps_undone_by_one_unmap_are_one_call(tmp_path: Path) -> None:
    trace = trace_of(
        tmp_path,
        "0,10,map,0x10000,0x5000,4096,1,0000:00:03.0",
        "1,11,map,0x40000,0x9000,4096,1,0000:00:03.0",
        "0,12,map,0x11000,0x8000,8192,1,0000:00:03.0",
        "2,13,unmap,0x10000,,12288,0,0000:00:03.0",
        "2,14,unmap,0x90000,,4096,0,0000:00:04.0",
    )
    first, second, third = trace.mappings()
    assert (first.segments, first.map_cpu, first.unmap_cpu) == (
        ((0x5000, 4096), (0x8000, 8192)),
        0,
        2,
    )
    assert (second.map_cpu, second.unmap_cpu) == (1, -1)
    assert (third.map_cpu, third.unmap_cpu, third.size) == (-1, 2, 4096)
    assert trace.lazy is None
    assert repr(trace).endswith(": 3 maps, 2 unmaps on 3 CPUs, 2 devices, 0.0 s>")


def test_a_map_whose_device_was_lost_belongs_to_who_unmaps_its_address(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, "0,1,map,0x10000,0x5000,4096,1,", "0,2,unmap,0x10000,,4096,0,0000:00:03.0")
    (mapping,) = trace.mappings()
    assert (mapping.device, mapping.map_cpu, mapping.unmap_cpu) == ("0000:00:03.0", 0, 0)


GOOD = "0,5,map,0x10000,0x5000,4096,1,0000:00:03.0"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("0,5,map,0x10000,0x5000,4096,1", "7 fields; there must be 8"),
        (GOOD.replace("map", "mapp"), "op is 'mapp'; it must be map or unmap"),
        (GOOD.replace("0,5", "1024,5"), "cpu is '1024'; it must be a number from 0 to 1023"),
        (GOOD.replace("0,5", "-1,5"), "cpu is '-1'"),
        (GOOD.replace("0,5", "0,1e9"), "t_ns is '1e9'"),
        (GOOD.replace("0,5", "0,007"), "t_ns is '007'"),
        (GOOD.replace("0x10000", "0x10001"), "whole pages of 4096 bytes"),
        (GOOD.replace("0x10000", "0x" + "f" * 16), "iova is '0xffffffffffffffff'"),
        (GOOD.replace("4096", "0"), "sizes not 0"),
        (GOOD.replace("4096", "4096000000000000"), "size is '4096000000000000'"),
        (GOOD.replace("0000:00:03.0", "<b>"), "device '<b>'; write it as 0000:00:03.0"),
        (GOOD.replace("0,5", "0,4"), "time goes back, from 5 to 4 ns"),
        ("x" * MAX_LINE, "1 fields"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(BadTrace, match=r"maps\.csv\.gz, line 3: ") as caught:
        trace_of(tmp_path, GOOD, line)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"nothing of the kind", "is no gzip file"),
        (gzip.compress(b"cpu,t_ns\n", mtime=0), "the first line must be 'cpu,t_ns,op,"),
        (gzip.compress(HEADER.encode() + b"\n" + GOOD.encode(), mtime=0)[:-20], "ends in the middle"),
        (gzip.compress(b"x" * (5 << 20), mtime=0), f"a line of more than {MAX_LINE} characters"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "maps.csv.gz").write_bytes(content)
    with pytest.raises(BadTrace, match=r"maps\.csv\.gz") as caught:
        MapTrace.load(tmp_path)
    assert problem in str(caught.value)


def test_a_file_that_is_not_there_or_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadTrace, match="cannot be read"):
        MapTrace.load(tmp_path)
    monkeypatch.setattr("lessons.lesson17.traces.MAX_TEXT", 1 << 20)
    (tmp_path / "maps.csv.gz").write_bytes(
        gzip.compress((HEADER + "\n").encode() + (GOOD + "\n").encode() * 50_000)
    )
    with pytest.raises(BadTrace, match="unpacks to more than"):
        MapTrace.load(tmp_path)
    monkeypatch.setattr("lessons.lesson17.traces.MAX_FILE", 100)
    with pytest.raises(BadTrace, match="more than 100 are not read"):
        MapTrace.load(tmp_path)


@pytest.mark.parametrize(
    "meta", [b"", b"[]", b'{"params": 5}', b'{"params": {"strict": [1]}}', b"[" * 100_000, b"\xff"]
)
def test_a_meta_file_that_says_nothing_leaves_the_question_open(tmp_path: Path, meta: bytes) -> None:
    (tmp_path / "meta.json").write_bytes(meta)
    assert trace_of(tmp_path, GOOD).lazy is None


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ((GOOD, GOOD), "event 1: 0000:00:03.0 maps 0x10000, which is mapped since event 0"),
        ((GOOD, "0,6,unmap,0x10000,,8192,0,0000:00:03.0"), "but nothing is mapped at 0x11000"),
        (
            (GOOD.replace("4096", "8192"), "0,6,unmap,0x10000,,4096,0,0000:00:03.0"),
            "in the middle of a piece",
        ),
    ],
)
def test_a_trace_that_contradicts_itself_is_refused(
    tmp_path: Path, lines: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(BadTrace, match="event 1") as caught:
        trace_of(tmp_path, *lines).mappings()
    assert problem in str(caught.value)
