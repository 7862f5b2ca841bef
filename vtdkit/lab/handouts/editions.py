"""What an edition holds: its cells, and where its links lead.

Cells are chosen by tag: `solution` is left out for students. Links to notebooks and pages that are in
the same folder lead to the built pages; links to other files of the project, which a handout does not
carry, become plain text.
"""

from __future__ import annotations

import copy
import posixpath
import re
from collections.abc import Collection
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]\n]*)\]\(([^)\s]+)\)")


def student(notebook: Any) -> Any:
    """A copy without the solutions."""
    chosen = copy.deepcopy(notebook)
    chosen["cells"] = [cell for cell in chosen["cells"] if "solution" not in cell["metadata"].get("tags", [])]
    return chosen


def relink(notebook: Any, built: Collection[str]) -> None:
    """Lead links in prose to the pages of the same folder; `built` has the names of their sources
    (`01-….ipynb`, `glossary.md`).
    """
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _LINK.sub(lambda match: _relinked(match[1], match[2], built), cell["source"])


def _relinked(text: str, target: str, built: Collection[str]) -> str:
    if re.match(r"[a-z]+:|#", target):
        return f"[{text}]({target})"
    name, hash_mark, anchor = target.partition("#")
    name = posixpath.normpath(name)
    if name in built:
        return f"[{text}]({posixpath.splitext(name)[0]}.html{hash_mark}{anchor})"
    return f"{text} (`{name.lstrip('./')}`)"


def title(notebook: Any, default: str) -> str:
    """The text of the first heading."""
    prose = "\n".join(cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    match = re.search(r"^#+\s+(.+?)\s*#*$", prose, re.M)
    return re.sub(r"[`*]", "", match[1]) if match else default
