"""The commands a person types first, and what they say when they cannot do it."""

from __future__ import annotations

import doctest
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vtdkit.cli import VERBS, main

ROOT = Path(__file__).resolve().parents[2]


def make(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # MAKEFLAGS of a make that runs these tests must not reach the make that is tested.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "PYTHON"
    }
    return subprocess.run(
        ["make", *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files `make` looks at, in a folder of their own with no .venv."""
    for name in ("Makefile", "pyproject.toml", "requirements-lock.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def fake_python(folder: Path, version: str, status: int) -> str:
    program = folder / "fakepython"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {version}" && exit 0\nexit {status}\n',
        encoding="utf-8",
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def test_an_old_python_is_refused_in_one_line_that_says_what_to_do(checkout: Path) -> None:
    old = fake_python(checkout, "3.9.2", status=1)
    done = make("venv", f"PYTHON={old}", cwd=checkout)
    assert done.returncode == 2
    first = done.stderr.splitlines()[0]
    assert (
        first == f"vtdkit needs Python 3.11 or newer, and '{old}' is Python 3.9.2; name another: make venv "
        "PYTHON=python3.12"
    )
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_not_there_is_refused_too(checkout: Path) -> None:
    done = make("venv", "PYTHON=no-such-python", cwd=checkout)
    assert done.returncode == 2
    assert done.stderr.startswith("vtdkit needs Python 3.11 or newer, and 'no-such-python' is ")
    assert "not found" in done.stderr.splitlines()[0]


def test_a_taken_port_is_refused_in_one_line(checkout: Path) -> None:
    # An environment that is ready: make goes straight on to the port.
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (checkout / ".venv" / ".ready").touch()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        done = make("lab", f"PORT={port}", cwd=checkout)
    assert done.returncode == 2
    assert (
        done.stderr.splitlines()[0]
        == f"port {port} is taken (or not a port); choose another: make lab PORT=8889"
    )


def test_make_alone_lists_the_commands_and_each_exists() -> None:
    listed = re.findall(r"^make (\w+)", make().stdout, re.M)
    assert {"lab", "test", "check", "handouts", "slides", "bench", "venv", "clean"} <= set(listed)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in listed:
        assert re.search(rf"^{word}:", makefile, re.M), word


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_a_page_names_only_commands_that_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^    |`)make ([a-z]+)", (ROOT / page).read_text(encoding="utf-8"), re.M))
    assert named
    for word in named:
        assert re.search(rf"^{word}:", makefile, re.M), word


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "notebooks/TEACHING.md"])
def test_a_page_names_only_verbs_that_exist(page: str) -> None:
    named = set(
        re.findall(r"\bvtdkit ([a-z]+)", " ".join(re.findall(r"`[^`]+`", (ROOT / page).read_text("utf-8"))))
    )
    assert named
    assert named <= set(VERBS)


def test_the_readme_says_how_to_start_everywhere_as_the_teachers_page_does() -> None:
    readme, teachers = ((ROOT / page).read_text("utf-8") for page in ("README.md", "notebooks/TEACHING.md"))
    ways = re.findall(r"^- \*\*(\w[\w ]*)\*\*(.*(?:\n  .*)*)", readme.partition("## The same")[0], re.M)
    assert [name for name, _ in ways] == ["Clone", "pip", "Conda", "VS Code", "Colab", "Browser"]
    colab = re.findall(r"`([^`]+)`", dict(ways)["Colab"])
    assert colab[0].startswith("%pip install vtdkit*.whl")
    assert all(f"`{line}`" in teachers for line in colab)


def test_the_example_of_the_readme_prints_what_it_says() -> None:
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False, encoding="utf-8")
    assert result.attempted >= 5
    assert result.failed == 0


def test_the_readme_is_read_in_ninety_seconds() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 400


def test_a_verb_that_needs_what_is_not_installed_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.delitem(sys.modules, "vtdkit.lab.marks.collect", raising=False)
    assert main(["collect", "class"]) == 2
    assert capsys.readouterr().err == (
        "vtdkit collect: tqdm is not installed; pip install 'vtdkit[notebooks]'\n"
    )


def test_ci_runs_every_stage_and_is_plain_sh() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert re.findall(r"^stage (\w+)", script.read_text(encoding="utf-8"), re.M) == [
        "venv",
        "check",
        "fresh",
        "site",
        "browser",
        "test",
    ]
