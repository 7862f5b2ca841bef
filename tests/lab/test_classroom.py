"""`vtdkit lab`: a folder with all the lessons need, and nothing a student wrote is lost."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vtdkit import cli
from vtdkit.lab import classroom

LESSON = "03-a-unit-is-taken-out.ipynb"


def test_the_copy_has_lessons_modules_glossary_and_the_guests_tables(tmp_path: Path) -> None:
    done = classroom.copy_to(tmp_path / "new" / "folder")
    there = {path.relative_to(done.folder).as_posix() for path in done.folder.rglob("*") if path.is_file()}
    assert there == {*done.written, classroom.MEMORY}
    assert {classroom.FIRST, "glossary.md", "lessons/lesson00.py", "lessons/__init__.py"} <= there
    assert {f"reality/{guest}/meta.json" for guest in classroom.GUESTS} <= there
    assert not [name for name in there if "__pycache__" in name or "checkpoints" in name]
    assert classroom.copy_to(done.folder).same == len(done.written)


def test_what_a_student_wrote_is_kept_and_named(tmp_path: Path) -> None:
    classroom.copy_to(tmp_path)
    (tmp_path / LESSON).write_text("mine", encoding="utf-8")
    done = classroom.copy_to(tmp_path)
    assert (done.kept, done.written) == ((LESSON,), ())
    assert str(done).endswith(f"kept as you left it: {LESSON}")
    assert (tmp_path / LESSON).read_text(encoding="utf-8") == "mine"


def test_what_nobody_changed_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old.ipynb", tmp_path / "new.ipynb"
    old.write_bytes(b"version 1\n")
    new.write_bytes(b"version 2\n")
    monkeypatch.setattr(classroom, "files", lambda: iter([(LESSON, old)]))
    classroom.copy_to(tmp_path / "mine")
    # an editor that writes CRLF has not changed a word
    (tmp_path / "mine" / LESSON).write_bytes(b"version 1\r\n")
    monkeypatch.setattr(classroom, "files", lambda: iter([(LESSON, new)]))
    assert classroom.copy_to(tmp_path / "mine").written == (LESSON,)
    assert (tmp_path / "mine" / LESSON).read_bytes() == b"version 2\n"


@pytest.mark.parametrize("memory", ["", "[1]", '{"03-a-unit-is-taken-out.ipynb": 3}', "\x00"])
def test_without_a_memory_every_file_that_differs_is_somebodys_work(tmp_path: Path, memory: str) -> None:
    (tmp_path / classroom.MEMORY).write_text(memory, encoding="utf-8")
    (tmp_path / LESSON).write_text("mine", encoding="utf-8")
    assert classroom.copy_to(tmp_path).kept == (LESSON,)


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert classroom.main([str(tmp_path / "file"), "--copy-only"]) == 2
    assert capsys.readouterr().err.endswith("file: File exists\n")


def test_a_port_that_is_taken_or_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        for port in (other.getsockname()[1], 99_999_999, -1):
            assert classroom.main([str(tmp_path / "mine"), "--no-browser", f"--port={port}"]) == 2
            assert capsys.readouterr().err.startswith(f"vtdkit lab: port {port} is taken (or not a port)")


def test_a_copy_without_lessons_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classroom, "PACKAGE", tmp_path / "vtdkit")
    with pytest.raises(classroom.NotShipped, match="came without its notebooks; pip install"):
        classroom.shipped("notebooks")


def test_claims_say_in_one_line_that_the_lessons_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(classroom, "PACKAGE", tmp_path / "vtdkit")
    assert cli.main(["claims", "7"]) == 2
    said = "this copy of vtdkit came without its notebooks; pip install --force-reinstall vtdkit"
    assert capsys.readouterr().err == f"vtdkit claims: {said}\n"


def test_a_wheel_carries_the_same_guests_as_a_copy() -> None:
    text = (Path(classroom.__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    carried = tomllib.loads(text)["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    guests = {f"tests/reality/{guest}": f"vtdkit/shipped/reality/{guest}" for guest in classroom.GUESTS}
    assert carried == {"notebooks": "vtdkit/shipped/notebooks", **guests}


def test_what_the_lessons_read_is_small_and_all_of_it_is_read() -> None:
    folder = classroom.shipped("reality")
    files = [path for guest in classroom.GUESTS for path in (folder / guest).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 2_000_000
    notebooks = classroom.shipped("notebooks").glob("*.ipynb")
    text = "".join(path.read_text(encoding="utf-8") for path in notebooks)
    read = {
        name.format(mode=mode)
        for name in re.findall(r'reality\(f?\\"(.*?)\\"\)', text)
        for mode in ("strict", "lazy")
    }
    assert read == set(classroom.GUESTS)


def test_jupyterlab_is_started_on_the_first_lesson(tmp_path: Path) -> None:
    words = classroom.command(tmp_path, 8899, browser=False)
    assert words[:3] == [sys.executable, "-m", "jupyterlab"]
    assert f"--LabApp.default_url=/lab/tree/{classroom.FIRST}" in words
    assert {"--port=8899", "--no-browser"} <= set(words)


def test_the_verb_from_anywhere(tmp_path: Path) -> None:
    root = Path(classroom.__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "vtdkit", "lab", str(tmp_path / "mine"), "--copy-only"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "mine" / classroom.FIRST).exists()
