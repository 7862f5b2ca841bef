"""The lessons as somebody has them who never saw this repository: the wheel is built and installed into an
environment of its own, `vtdkit lab` copies the lessons into a folder, and every cell of them is run there.

    make fresh        # or: python tests/fresh.py [SCRATCH]

Prints what each part took; exit status 1 if a lesson fails. Nothing of the clone is on the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CELL = 120  # seconds


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A program, without what this environment would lend it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        list(map(str, words)), cwd=cwd, env=kept, capture_output=True, text=True, timeout=900, check=False
    )


def done(what: str, began: float, result: subprocess.CompletedProcess[str]) -> None:
    """Say how long a part took, or how it failed, and stop."""
    if result.returncode:
        sys.exit(f"{what} failed:\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}")
    print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)


def main(scratch: Path) -> int:
    """Build, install, copy, run; the exit status."""
    began = time.monotonic()
    done(
        "wheel",
        began,
        run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", scratch, ROOT, cwd=scratch),
    )
    (wheel,) = scratch.glob("vtdkit-*.whl")
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")

    began = time.monotonic()
    venv.create(scratch / "env", with_pip=True)
    programs = scratch / "env" / ("Scripts" if os.name == "nt" else "bin")
    done(
        "install",
        began,
        run(programs / "python", "-m", "pip", "install", "-q", f"{wheel}[notebooks]", cwd=scratch),
    )

    began, lessons = time.monotonic(), scratch / "lessons"
    done("copy", began, run(programs / "vtdkit", "lab", "--copy-only", lessons, cwd=scratch))
    done("claims", began, run(programs / "vtdkit", "claims", "7", cwd=scratch))
    doctor = run(programs / "vtdkit", "doctor", cwd=scratch)
    done("doctor", began, doctor)
    names = [line.partition(": ")[0] for line in doctor.stdout.splitlines()]
    assert len(names) == len(set(names)), doctor.stdout
    assert "WARN  pytest" not in names, doctor.stdout

    def execute(notebook: Path) -> tuple[Path, float, str]:
        start = time.monotonic()
        result = run(programs / "jupyter-execute", f"--timeout={CELL}", notebook, cwd=lessons)
        return notebook, time.monotonic() - start, result.stderr[-2000:] if result.returncode else ""

    began, status = time.monotonic(), 0
    with ThreadPoolExecutor(max(os.cpu_count() or 1, 2)) as pool:
        for notebook, took, error in pool.map(execute, sorted(lessons.glob("*.ipynb"))):
            print(f"{notebook.name}: {'FAILED' if error else f'{took:.0f} s'}", flush=True)
            status |= bool(error)
            print(error, end="")
    print(f"lessons: {time.monotonic() - began:.0f} s")
    return status


if __name__ == "__main__":
    if sys.argv[1:]:
        folder = Path(sys.argv[1]).absolute()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        sys.exit(main(folder))
    with tempfile.TemporaryDirectory(prefix="vtdkit-") as temporary:
        sys.exit(main(Path(temporary)))
