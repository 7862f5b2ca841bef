"""A whole folder of pages: every notebook run once, then written for each edition."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .editions import relink, student, title
from .execute import execute
from .page import ASSETS, HERE, index, markdown_page, page
from .tidy import keep_shown_widgets, shorten_tracebacks
from .vendor import vendor

TEACHERS = {"TEACHING.md"}
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


@dataclass(slots=True)
class Sources:
    """What pages are made from: notebooks that have been run, and pages of prose; by file name, in order.
    Used by one thread.
    """

    notebooks: dict[str, Any] = field(default_factory=dict)
    prose: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def run(
        cls, paths: Sequence[Path], *, timeout: int = 120, say: Callable[[str], None] = lambda text: None
    ) -> Sources:
        """Run every notebook, telling `say` which; take the .md files of their folders
        along. Raises `NotebookFailed`.
        """
        found = cls()
        for path in paths:
            say(f"running {path.name}")
            found.notebooks[path.name] = execute(path, timeout=timeout)
            shorten_tracebacks(found.notebooks[path.name])
        for folder in sorted({path.parent for path in paths}):
            for prose in sorted(folder.glob("*.md")):
                found.prose[prose.name] = markdown_page(prose.read_text(encoding="utf-8"))
        return found

    def of(self, edition: Edition) -> dict[str, Any]:
        """The notebooks and pages of an edition, ready to be written."""
        chosen = dict(self.notebooks)
        if not edition.walking:
            chosen |= {
                name: text for name, text in self.prose.items() if edition.solutions or name not in TEACHERS
            }
        ready = {
            name: copy.deepcopy(each) if edition.solutions else student(each) for name, each in chosen.items()
        }
        for each in ready.values():
            keep_shown_widgets(each)
            relink(each, ready)
        return ready


def build(sources: Sources, editions: Sequence[Edition], out: Path, cache: Path) -> list[Path]:
    """Write the editions below `out`, replacing what was built there before; returns the
    folders. Raises `VendorError`.
    """
    return [_build(sources.of(edition), edition, out / edition.folder, cache) for edition in editions]


def _build(chosen: dict[str, Any], edition: Edition, folder: Path, cache: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    vendor(folder / "vendor", cache)
    for asset in ASSETS:
        shutil.copy(HERE / "static" / asset, folder / "vendor" / asset)
    listed = []
    for name, notebook in chosen.items():
        stem = Path(name).stem
        text = page(notebook, stem, walking=edition.walking)
        (folder / f"{stem}.html").write_text(text, encoding="utf-8", newline="\n")
        listed.append((f"{stem}.html", title(notebook, stem)))
    (folder / "index.html").write_text(index(edition.heading, listed), encoding="utf-8", newline="\n")
    return folder
