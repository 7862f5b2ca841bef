"""A new lesson's three files, made from the template: `make lesson N=15 NAME=three-back-ends`.

    python -m tests.notebooks.newlesson 15 three-back-ends

writes `notebooks/15-three-back-ends.ipynb`, `notebooks/lessons/lesson15.py` and `tests/lab/test_lesson15.py`,
all of which run as they are. Writes nothing, and says why, if the number or the name cannot be used or a file
is there already.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from tests.notebooks.nbchecks import as_jupyterlab_saves

ROOT = Path(__file__).resolve().parents[2]


class CannotMake(ValueError):
    """Why there is no new lesson, in one line."""


def plan(number: str, name: str, root: Path = ROOT) -> dict[Path, str]:
    """What would be written: file -> text. Raises CannotMake."""
    if not re.fullmatch(r"\d{1,2}", number):
        raise CannotMake(f"N={number!r} is no lesson's number; write N=15")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise CannotMake(f"NAME={name!r}: small letters, digits and hyphens, as in NAME=three-back-ends")
    two = f"{int(number):02}"
    module, title = f"lesson{two}", name.replace("-", " ").capitalize()
    if taken := sorted((root / "notebooks").glob(f"{two}-*.ipynb")):
        raise CannotMake(f"lesson {number} is there already: {taken[0].name}")
    files = {
        root / "notebooks" / f"{int(number):02}-{name}.ipynb": _notebook(
            module, f"{int(number):02} · {title}"
        ),
        root / "notebooks" / "lessons" / f"{module}.py": _text("notebooks/lessons/template.py", module),
        root / "tests" / "lab" / f"test_{module}.py": _text("tests/lab/test_template.py", module),
    }
    for path in files:
        if path.exists():
            raise CannotMake(f"{path.relative_to(root)} is there already")
    return files


def _text(name: str, module: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    return text.replace(" `make lesson` copies this file.", "").replace("import template", f"import {module}")


def _notebook(module: str, title: str) -> str:
    notebook = json.loads((ROOT / "notebooks" / "template.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        text = "".join(cell["source"]).replace("import template", f"import {module}")
        cell["source"] = (
            re.sub(r"^# .*", f"# {title}", text, count=1) if cell["cell_type"] == "markdown" else text
        )
    notebook["metadata"]["title"] = title.split(" · ")[1]
    return as_jupyterlab_saves(notebook)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    number, name = [*arguments, "", ""][:2]
    try:
        files = plan(number, name)
    except CannotMake as error:
        print(f"make lesson: {error}", file=sys.stderr)
        return 2
    for path, text in files.items():
        path.write_text(text, encoding="utf-8", newline="\n")
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
