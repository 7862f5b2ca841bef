"""The command line: what it prints and the status it ends with."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from importlib import metadata
from pathlib import Path

import pytest

from vtdkit import cli
from vtdkit.vtd.quirks import Quirks

REALITY = Path(__file__).parent.parent / "reality"
LAZY = str(REALITY / "legacy48_lazy-s0-busy")


def run(*words: str) -> int:
    return cli.main(words)


def test_check_prints_one_line_of_counts_per_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", LAZY) == 0
    line = capsys.readouterr().out
    assert line.startswith(
        "legacy48_lazy-s0-busy: translations 105/105, faults 80/80, kernel_live 24627/24627, "
    )
    assert "mutations 870/870, invalidations 950/950" in line
    assert "stale explained 300/300" in line
    assert "(personality qemu 7.2.22)" in line


def test_check_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "--json", LAZY) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["agrees"] is True
    assert report["counts"]["translations"] == [105, 105]


def test_disagreement_is_status_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "wrong"
    shutil.copytree(REALITY / "passthrough-s0-quiet", folder)
    oracle = json.loads(gzip.decompress((folder / "oracle.json.gz").read_bytes()))
    oracle["mappings"][0]["gpa"] = "0x5000"
    (folder / "oracle.json.gz").write_bytes(gzip.compress(json.dumps(oracle).encode()))
    assert run("check", str(folder)) == 1
    out = capsys.readouterr().out
    assert "wrong: translations 66/67, faults 74/74" in out
    assert "disagrees: translations: " in out


def test_unreadable_input_is_status_two_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    workload = str(REALITY / "maps_smp4_lazy-s0")
    assert run("check", workload) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "vtdkit check: maps_smp4_lazy-s0: a workload folder (maps.csv.gz); it holds no tables to look at\n"
    )
    assert run("inspect", "nowhere") == 2
    assert capsys.readouterr().err == "vtdkit inspect: nowhere: there is no such folder\n"


LIMIT = 512 << 20
UNUSABLE: list[tuple[str, bytes | None, str]] = [
    ("fuzz_oracle.json.gz", None, "is missing"),
    ("invalidations.json.gz", gzip.compress(b"[1")[:-9], "cannot be read (Compressed file ended"),
    ("regs.json", b"CAP=1", "is not JSON"),
    ("pages.npz", b"{}", "is no readable npz archive"),
    ("replay_oracle.json.gz", gzip.compress(bytes(1 << 28), 9), "is larger than"),
]


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, which other systems do not")
@pytest.mark.parametrize(
    ("name", "content", "complaint"), UNUSABLE, ids=[complaint for *_, complaint in UNUSABLE]
)
def test_a_spoilt_folder_costs_one_line_two_seconds_and_512_mib(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    import resource

    folder = tmp_path / "spoilt"
    shutil.copytree(REALITY / "legacy39_strict-s0-quiet", folder)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({LIMIT}, {LIMIT}))"
    program = f"{limit}; from vtdkit import cli; raise SystemExit(cli.main(['check', {str(folder)!r}]))"
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"vtdkit check: spoilt/{name}: {complaint}")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 2


def test_inspect_goes_from_the_root_to_the_pages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", LAZY, "--device", "00:03.0", "--limit", "2") == 0
    assert capsys.readouterr().out.splitlines() == [
        "legacy48_lazy-s0-busy: legacy mode, root table 0x9080000",
        "",
        "00:03.0  DID 4, second stage, 4 levels at 0x9151000  driver nvme",
        "  root entry     0x0000000000000000:0x000000000908b001",
        "  context entry  0x0000000000000402:0x0000000009151001",
        "  0x0000bf73e000-0x0000bf73efff -> 0x000003048000  rw  1 x 4K",
        "  0x0000ff94d000-0x0000ff94dfff -> 0x0000042dd000  r-  1 x 4K",
        "  ... 58 more pages (--limit shows more)",
        "  60 pages mapped",
    ]


def test_inspect_shows_pasid_entries_in_scalable_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", str(REALITY / "scalable48-s0-quiet"), "--device", "00:03.0", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    (device,) = found["devices"]
    assert (found["mode"], device["pasid"], device["path"], device["pages"]) == ("scalable", 0, "SS", 25)
    assert device["pasid_entry"][0].endswith("89")


def test_inspect_says_when_the_emulator_is_less_strict(capsys: pytest.CaptureFixture[str]) -> None:
    """Linux writes AW where a unit has no second stage, and so reserves it; QEMU does not look."""
    folder = str(REALITY / "k612_q10_firststage-s0-quiet")
    assert run("inspect", folder, "--device", "00:02.0") == 0
    letter = capsys.readouterr().out
    assert "refused: SPT.3" in letter
    assert letter.endswith("refused by the letter: 1; --qemu reads the tables as QEMU's unit does\n")
    assert run("inspect", folder, "--device", "00:02.0", "--qemu") == 0
    emulated = capsys.readouterr().out
    assert "324 pages mapped" in emulated
    assert "refused" not in emulated


def test_inspect_refuses_devices_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", LAZY, "--device", "zebra") == 2
    assert "'zebra' is no bus address" in capsys.readouterr().err
    assert run("inspect", LAZY, "--device", "7f:00.0") == 2
    assert "7f:00.0 has no context entry" in capsys.readouterr().err


def test_quirks_lists_every_switch_with_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("quirks", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [f.name for f in fields(Quirks)]
    assert all(row["why"].endswith(".") and row["on_in"] for row in rows)
    assert run("quirks") == 0
    assert f"{len(rows)} switches" in capsys.readouterr().out


def test_help_and_unknown_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "inspect" in capsys.readouterr().out
    assert run("--version") == 0
    assert capsys.readouterr().out == f"vtdkit {metadata.version('vtdkit')}\n"
    assert run() == 2
    capsys.readouterr()
    assert run("frobnicate") == 2
    assert capsys.readouterr().err == "vtdkit: there is no verb 'frobnicate'; try --help\n"
    for verb in ("inspect", "check", "quirks"):
        with pytest.raises(SystemExit) as end:
            run(verb, "--help")
        assert end.value.code == 0
        assert f"vtdkit {verb}" in capsys.readouterr().out


def test_the_module_runs_and_imports_no_numpy() -> None:
    code = (
        "import sys; from vtdkit.cli import main; main(['check', sys.argv[1]]); assert "
        "'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, LAZY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        [sys.executable, "-m", "vtdkit", "quirks"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0


def test_an_installed_copy_says_that_check_needs_a_clone(tmp_path: Path) -> None:
    """The model without its tests beside it: one clear line, and status 2."""
    shutil.copytree(
        Path(cli.__file__).parent, tmp_path / "vtdkit", ignore=shutil.ignore_patterns("__pycache__")
    )
    done = subprocess.run(
        [sys.executable, "-m", "vtdkit", "check", LAZY],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "vtdkit check: what compares the model with real machines comes with its tests; run this in a clone "
        "of the project\n"
    )


def test_check_runs_from_anywhere(tmp_path: Path) -> None:
    root = Path(cli.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "vtdkit", "check", str(REALITY / "passthrough-s0-quiet")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("passthrough-s0-quiet: translations 67/67, faults 74/74")
