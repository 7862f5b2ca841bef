"""How far away the kit is: what a reader has to load, and seconds until the first cell has an answer.

Run `make site` first, then `python tests/benchmarks/reach.py` (a minute). *Cold*: a browser that has nothing
opens a lesson and runs it. *After the page in front*: the landing page is read for a few seconds meanwhile.
*Warm*: the same browser opens the next lesson. The peer is JupyterLab with a kernel of its own on this
machine, opened on the same notebook in the same run. Budgets: 12 s cold, 4 s warm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.notebooks.labdriver import LabPage, chromium, lab_server, why_no_browser  # noqa: E402
from tests.site.sitepage import SITE, SitePage, site_server  # noqa: E402

FIRST, NEXT = "00-start-here.ipynb", "01-the-debugfs-dump.ipynb"
READING = 8  # seconds somebody spends on the page in front


def megabytes(*paths: Path) -> float:
    """The size of files, and of all below folders."""
    files = (each for path in paths for each in ([path] if path.is_file() else path.rglob("*")))
    return round(sum(file.stat().st_size for file in files if file.is_file()) / 1e6, 1)


def sizes() -> dict[str, float]:
    """Megabytes: our wheel, what of it is data, the site, and what of the site a first lesson loads."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, str(ROOT)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        wheel = megabytes(Path(folder))
    guests = [ROOT / "tests/reality" / name for name in ("legacy48_lazy-s0-busy", "scalable48-s0-quiet")]
    data = megabytes(
        *guests, ROOT / "tests/reality/superpage_1g-s0-quiet", *(ROOT / "notebooks").glob("*.ipynb")
    )
    return {
        "wheel": wheel,
        "data in it": data,
        "site": megabytes(SITE),
        "kernel": megabytes(SITE / "static/pyodide"),
    }


def times(browser: Any) -> dict[str, float]:
    """Seconds to the first answer."""
    found: dict[str, float] = {}
    with site_server(SITE) as base:
        with SitePage(browser, base) as page:
            found["cold"] = page.first_cell(FIRST)
        with SitePage(browser, base) as page:
            page.page.goto(base + "/", wait_until="load")
            time.sleep(READING)
            found["after the page in front"] = page.first_cell(FIRST)
            found["warm"] = page.first_cell(NEXT)
    with lab_server(ROOT) as server, LabPage(browser, server) as page:
        began = time.monotonic()
        page.open(f"notebooks/{FIRST}")
        page.run_all()
        found["JupyterLab, whole lesson"] = time.monotonic() - began
    return {name: round(seconds, 1) for name, seconds in found.items()}


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
    for name, value in seconds.items():
        print(f"{name:28}{value:8.1f} s")
    print(json.dumps({"megabytes": size, "seconds": seconds}))


if __name__ == "__main__":
    main()
