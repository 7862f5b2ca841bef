"""Look at a notebook as a student sees it: open it in JupyterLab, run all, take pictures.

    python -m tests.notebooks.look notebooks/00-start-here.ipynb --theme both --out /tmp/shots

prints, for each notebook, how long it ran, error outputs, requests to other machines, controls without an
accessible name, and the pictures written. Exit status 1 if there was an error output, an outside request or a
JavaScript error. The notebook itself is not changed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.notebooks.labdriver import ROOT, LabPage, chromium, lab_server, unnamed, why_no_browser


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.notebooks.look", description=__doc__.splitlines()[0]
    )
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--theme", choices=["light", "dark", "both"], default="both")
    parser.add_argument(
        "--out", type=Path, default=Path("build/shots"), help="folder for the pictures (build/shots)"
    )
    parser.add_argument("--width", type=int, default=1280, help="of the window, in pixels (1280)")
    parser.add_argument(
        "--keys",
        default="",
        help="keys pressed in the first widget before the picture, e.g. ArrowRight*5,Tab,Enter",
    )
    options = parser.parse_args(arguments)
    if reason := why_no_browser():
        print(reason, file=sys.stderr)
        return 2
    for path in options.notebooks:
        if not path.is_file():
            print(f"{path}: no such notebook", file=sys.stderr)
            return 2
    themes = ["light", "dark"] if options.theme == "both" else [options.theme]
    # All from the project's folder, so that a notebook finds what lies beside it.
    inside = all(ROOT in path.resolve().parents for path in options.notebooks)
    folder = ROOT if inside else options.notebooks[0].resolve().parent
    good = True
    with lab_server(folder) as server, chromium() as browser:
        for path in options.notebooks:
            with LabPage(browser, server, theme=themes[0], width=options.width) as page:
                page.open(path.resolve().relative_to(folder).as_posix())
                good = look_at(page, path.stem, themes, options.out, options.keys) and good
    return 0 if good else 1


def look_at(page: LabPage, name: str, themes: list[str], out: Path, keys: str) -> bool:
    """Run the notebook that is open, print what a test would complain about, take the pictures."""
    print(f"{name}: ran in {page.run_all():.1f} s, {page.widgets().count()} widgets")
    if keys:
        page.widgets().first.locator("[tabindex='0'], input, button").first.focus()
    for group in filter(None, keys.split(",")):
        key, _, times = group.partition("*")
        for _ in range(int(times or 1)):
            page.page.keyboard.press(key)
    page.wait_idle()
    complaints = [
        *page.errors(),
        *(f"asked for {url}" for url in page.outside),
        *(f"JavaScript: {text}" for text in page.page_errors),
    ]
    for line in complaints:
        print(f"  {line}")
    for line in unnamed(page.accessibility()):
        print(f"  no accessible name: {line}")
    for theme in themes:
        page.set_theme(theme)
        for picture in page.screenshots(out, name):
            print(f"  {picture}")
    return not complaints


if __name__ == "__main__":
    sys.exit(main())
