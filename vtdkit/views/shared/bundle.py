"""The JavaScript and the style sheet of a widget, each as one text, put together when the
Python module is read.

A widget's ES module lies beside its Python module and may import its neighbours, and what lies
in another widget's folder:

    import { el, keys } from "../shared/common.js";

`module(name)` gives its text with the imported modules in front of it (each once, without `export`), so
that a browser needs no second file and Node can still run each file as it is. Only that form of import is
known; names are not renamed, so no two modules may declare the same name at top level. `style(name...)`
gives the colours of `palette.py`, `common.css` and the named sheets.
"""

from __future__ import annotations

import posixpath
import re
from functools import cache
from pathlib import Path

from .palette import css

VIEWS = Path(__file__).parent.parent
_IMPORT = re.compile(r'^import\s*\{[^}]*\}\s*from\s*"(\.\.?/(?:\w+/)?[\w-]+\.js)";\n', re.M)
_ANY_IMPORT = re.compile(r"^\s*import\b.*$", re.M)
_EXPORT = re.compile(r"^export (?=(?:async )?function\b|const\b|class\b)", re.M)


def module(name: str) -> str:
    """The text of the ES module `name` and all it imports. Raises ValueError for an
    import of another form.
    """
    *others, own = _modules(name).values()
    return "".join(_EXPORT.sub("", text) for text in others) + own


def style(*names: str) -> str:
    """The style sheet of a widget: colours, what all widgets share, and the sheets called `names`."""
    return css() + "".join(_read(name) for name in ("shared/common.css", *names))


@cache
def _read(name: str) -> str:
    return (VIEWS / name).read_text(encoding="utf-8")


def _modules(name: str) -> dict[str, str]:
    """The texts of `name` and of what it imports, without imports: by name, deepest first, each once."""
    texts: dict[str, str] = {}
    for written in _IMPORT.findall(_read(name)):
        texts |= _modules(posixpath.normpath(posixpath.join(posixpath.dirname(name), written)))
    body = _IMPORT.sub("", _read(name))
    if stray := _ANY_IMPORT.search(body):
        raise ValueError(
            f"{name}: cannot put {stray.group().strip()!r} into one module; write import {{ a, b }} from "
            '"./file.js";'
        )
    return texts | {name: body}
