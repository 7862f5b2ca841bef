"""A whole folder of pages: every notebook run once, then written for each edition."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .editions import relink, student, title
from .execute import execute
from .page import ASSETS, HERE, index, markdown_page, page
from .tidy import keep_shown_widgets, shorten_tracebacks
from .vendor import vendor

TEACHERS = ("TEACHING.md",)
"""Pages beside the notebooks that only the solution edition has."""


@dataclass(frozen=True, slots=True)
class Edition:
    """One folder to build: its name below the output folder, its heading, and what is in it."""

    folder: str
    heading: str
    solutions: bool = False
    walking: bool = False


STUDENT = Edition("student", "Lessons")
SOLUTIONS = Edition("solutions", "Lessons with solutions", solutions=True)
SLIDES = Edition("slides", "Lessons, one step per screen", walking=True)


def run(
    paths: Sequence[Path], *, timeout: int = 120, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """What pages are made from, by file name: every notebook, run, telling `say` which, then the .md files of
    their folders. Raises `NotebookFailed`.
    """
    found = {}
    for path in paths:
        say(f"running {path.name}")
        found[path.name] = execute(path, timeout=timeout)
        shorten_tracebacks(found[path.name])
    prose = [
        each for folder in sorted({path.parent for path in paths}) for each in sorted(folder.glob("*.md"))
    ]
    return found | {each.name: markdown_page(each.read_text(encoding="utf-8")) for each in prose}


def cut(sources: dict[str, Any], edition: Edition) -> dict[str, Any]:
    """The notebooks and pages of an edition, ready to be written."""
    out = (".md",) if edition.walking else () if edition.solutions else TEACHERS
    chosen = {name: each for name, each in sources.items() if not name.endswith(out)}
    ready = {
        name: copy.deepcopy(each) if edition.solutions else student(each) for name, each in chosen.items()
    }
    for each in ready.values():
        keep_shown_widgets(each)
        relink(each, ready)
    return ready


def build(sources: dict[str, Any], edition: Edition, folder: Path, cache: Path) -> None:
    """Write an edition into a folder, replacing what was built there before. Raises `VendorError`."""
    shutil.rmtree(folder, ignore_errors=True)
    vendor(folder / "vendor", cache)
    for asset in ASSETS:
        shutil.copy(HERE / "static" / asset, folder / "vendor" / asset)
    listed = []
    for name, notebook in cut(sources, edition).items():
        stem = Path(name).stem
        text = page(notebook, stem, walking=edition.walking)
        (folder / f"{stem}.html").write_text(text, encoding="utf-8", newline="\n")
        listed.append((f"{stem}.html", title(notebook, stem)))
    (folder / "index.html").write_text(index(edition.heading, listed), encoding="utf-8", newline="\n")
