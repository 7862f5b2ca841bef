"""How far away the kit is: what a reader has to load, and seconds until the first cell has an answer.

Run `make site` first, then `python tests/benchmarks/reach.py` (a minute). *Cold*: a browser that has nothing
opens a lesson and runs it. *After the page in front*: the landing page is read for a few seconds meanwhile.
*Warm*: the same browser opens the next lesson, from the page in front or, *in the same tab*, by a link in
the first. The peer is JupyterLab with a kernel of its own on this machine, opened on the same notebook in the
same run. Budgets: 2 MB of data, 12 s cold, 4 s warm, where nothing else runs; the processor's seconds beside
them (Linux; the browser's on all its processors) tell how far from that it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.notebooks.labdriver import LabPage, chromium, lab_server, why_no_browser  # noqa: E402
from tests.site.sitepage import SITE, SitePage, site_server  # noqa: E402
from vtdkit.lab.classroom import GUESTS, shipped  # noqa: E402

FIRST, NEXT, THIRD = "00-start-here.ipynb", "01-the-debugfs-dump.ipynb", "02-the-alias-search.ipynb"
READING = 8  # seconds somebody spends on the page in front


def megabytes(*paths: Path) -> float:
    """The size of files, and of all below folders."""
    files = (each for path in paths for each in ([path] if path.is_file() else path.rglob("*")))
    return round(sum(file.stat().st_size for file in files if file.is_file()) / 1e6, 1)


def sizes() -> dict[str, float]:
    """Megabytes: our wheel, the data of it that lessons read, the site, and what of the site a first
    lesson loads.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, str(ROOT)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        wheel = megabytes(Path(folder))
    return {
        "wheel": wheel,
        "data that lessons read": megabytes(*(shipped("reality") / guest for guest in GUESTS)),
        "site": megabytes(SITE),
        "kernel": megabytes(SITE / "static/pyodide"),
    }


def processor() -> float:
    """Seconds that the processes which this one started, and theirs, have computed so far."""
    ticks, children = dict[int, int](), dict[int, list[int]]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            words = path.read_text().rpartition(")")[2].split()
            ticks[int(path.parent.name)] = int(words[11]) + int(words[12])
            children.setdefault(int(words[1]), []).append(int(path.parent.name))
    todo = [os.getpid()]
    for pid in todo:
        todo += children.get(pid, [])
    return sum(ticks.get(pid, 0) for pid in todo[1:]) / 100


def times(browser: Any) -> dict[str, tuple[float, float]]:
    """Seconds to the first answer, and the processor's."""
    found: dict[str, tuple[float, float]] = {}

    def take(name: str, call: Callable[[], object]) -> None:
        began, used = time.monotonic(), processor()
        call()
        found[name] = round(time.monotonic() - began, 1), round(processor() - used, 1)

    with site_server(SITE) as base:
        with SitePage(browser, base) as page:
            take("cold", lambda: page.first_cell(FIRST))
        with SitePage(browser, base) as page:
            page.page.goto(base + "/", wait_until="load")
            time.sleep(READING)
            take("after the page in front", lambda: page.first_cell(FIRST))
            take("warm", lambda: page.first_cell(NEXT))
            take("warm, in the same tab", lambda: page.first_cell(THIRD, same_tab=True))
    with lab_server(ROOT) as server, LabPage(browser, server) as page:
        take("JupyterLab, whole lesson", lambda: (page.open(f"notebooks/{FIRST}"), page.run_all()))
    return found


def main() -> None:
    """Print both tables, then one line of JSON."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0]).parse_args()
    if not (SITE / "index.html").exists():
        raise SystemExit("the site is not built: make site")
    if reason := why_no_browser():
        raise SystemExit(reason)
    size = sizes()
    with chromium() as browser:
        seconds = times(browser)
    for name, value in size.items():
        print(f"{name:28}{value:8.1f} MB")
    for name, (value, used) in seconds.items():
        print(f"{name:28}{value:8.1f} s {used:8.1f} s of the processor")
    print(json.dumps({"megabytes": size, "seconds": seconds}))


if __name__ == "__main__":
    main()
