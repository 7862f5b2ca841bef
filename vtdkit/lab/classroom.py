"""`vtdkit lab [DIR]`: the lessons in a folder of one's own, and JupyterLab on the first of them.

An installed copy carries the notebooks, the modules they import, glossary and guests' tables as data; a
clone has them where they are kept. Either way DIR gets a copy to write in. A file that was changed there
is never written over: what we wrote is remembered by its sum in `DIR/.vtdkit.json`, a file that differs
from it is somebody's work, and the command says which ones it kept. Nothing is removed.

Runs wherever Python does: no shell, no link, no path but those below DIR. Sums are of bytes with LF line
ends, so that an editor's CRLF is not taken for work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vtdkit.vtd.plain import said

PACKAGE = Path(__file__).resolve().parents[1]
FIRST = "00-start-here.ipynb"
MEMORY = ".vtdkit.json"
LEFT_OUT = {"__pycache__", ".ipynb_checkpoints", "site", "run.json"}  # the last is what a lesson writes
#: the guests whose tables and traces the lessons read
GUESTS = (
    "legacy48_lazy-s0-busy",
    "maps_smp4_lazy-s0",
    "maps_smp4_strict-s0",
    "scalable48-s0-quiet",
)


class NotShipped(FileNotFoundError):
    """This copy of the package came without the lessons."""


def shipped(name: str) -> Path:
    """The folder `notebooks` or `reality`, as package data or in a clone. Raises NotShipped."""
    for folder in (PACKAGE / "shipped" / name, PACKAGE.parent / name, PACKAGE.parent / "tests" / name):
        if folder.is_dir():
            return folder
    raise NotShipped(f"this copy of vtdkit came without its {name}; pip install --force-reinstall vtdkit")


def files() -> Iterator[tuple[str, Path]]:
    """(place below DIR, file) of all that the lessons need, in a fixed order."""
    lessons, reality = shipped("notebooks"), shipped("reality")
    found = [(path.relative_to(lessons).as_posix(), path) for path in lessons.rglob("*")]
    found += [
        (f"reality/{path.relative_to(reality).as_posix()}", path)
        for guest in GUESTS
        for path in (reality / guest).rglob("*")
    ]
    yield from sorted(
        (place, path)
        for place, path in found
        if path.is_file() and LEFT_OUT.isdisjoint(path.parts) and path.suffix != ".pyc"
    )


@dataclass(frozen=True, slots=True)
class Copied:
    """What was written into a folder, what was already as it should be, and what was
    kept as somebody's work.
    """

    folder: Path
    written: tuple[str, ...]
    same: int
    kept: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.folder}: {len(self.written)} files written, {self.same} already there"]
        lines += [f"kept as you left it: {name}" for name in self.kept]
        return "\n".join(lines)


def copy_to(folder: Path) -> Copied:
    """Bring the lessons into `folder`. Raises OSError where it cannot be written, NotShipped."""
    folder.mkdir(parents=True, exist_ok=True)
    memory = folder / MEMORY
    ours = _remembered(memory)
    written, kept, same = [], [], 0
    for name, source in files():
        target, data = folder / name, source.read_bytes()
        there = _sum(target.read_bytes()) if target.exists() else None
        if there not in (None, _sum(data), ours.get(name)):
            kept.append(name)
            continue
        ours[name] = _sum(data)
        if there == ours[name]:
            same += 1
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            written.append(name)
    memory.write_text(json.dumps(ours, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return Copied(folder, tuple(written), same, tuple(kept))


def _sum(data: bytes) -> str:
    return hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()


def _remembered(memory: Path) -> dict[str, str]:
    """Sums of what we wrote before; none if the file is not there or not ours."""
    with suppress(OSError, ValueError, AttributeError):
        return {k: v for k, v in json.loads(memory.read_text("utf-8")).items() if isinstance(v, str)}
    return {}


def command(folder: Path, port: int | None, browser: bool) -> list[str]:
    """How JupyterLab is started on the first lesson."""
    words = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.resolve()}"]
    words += [f"--LabApp.default_url=/lab/tree/{FIRST}"]
    words += [f"--port={port}", "--ServerApp.port_retries=0"] if port is not None else []
    words += [] if browser else ["--no-browser"]
    # JupyterLab refuses to run as root unless told that it is meant; Windows has no such user.
    return [*words, "--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else words


def _free(port: int) -> bool:
    with socket.socket() as trial:
        # Elsewhere it only ignores closed connections; on Windows it would let two servers have one port.
        if os.name == "posix":
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError, OverflowError):
            trial.bind(("127.0.0.1", port))
            return True
    return False


def main(arguments: list[str]) -> int:
    """The verb; returns the exit status."""
    parser = argparse.ArgumentParser("vtdkit lab", description="copy the lessons into a folder and open them")
    parser.add_argument("folder", nargs="?", default="vtdkit-lessons", type=Path, metavar="DIR")
    parser.add_argument("--copy-only", action="store_true", help="copy, and start nothing")
    parser.add_argument("--no-browser", action="store_true", help="start JupyterLab, open no browser")
    parser.add_argument("--port", type=int, help="where JupyterLab serves")
    given = parser.parse_args(arguments)
    try:
        print(copy_to(given.folder))
    except OSError as error:
        print(f"vtdkit lab: {said(error, given.folder)}", file=sys.stderr)
        return 2
    if given.copy_only:
        return 0
    wrong = ""
    if find_spec("jupyterlab") is None:
        wrong = "JupyterLab is not installed; pip install 'vtdkit[notebooks]'"
    elif given.port is not None and not _free(given.port):
        wrong = f"port {given.port} is taken (or not a port); choose another: --port 8889"
    if wrong:
        print(f"vtdkit lab: {wrong}", file=sys.stderr)
        return 2
    try:
        return subprocess.call(command(given.folder, given.port, not given.no_browser))
    except KeyboardInterrupt:
        return 0
