"""The rules a saved notebook keeps, as functions from a notebook to the places where it does not.

`problems(path)` runs every rule. Each rule looks at one thing and says in words what is wrong and in
which cell (counted from 1), so that an author can mend it without reading this file. Nothing is executed
here; that is nbval's part.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import unquote

import nbformat

from vtdkit.lab.handouts.tidy import WIDGET_VIEW

MAX_BYTES = 400_000
MAX_LINES = 25
MAX_MEDIAN = 4
WORDS_PER_LINE = (8, 20)

Cell = dict[str, Any]
Rule = Callable[[dict[str, Any], Path], Iterator[str]]

_MACHINE_PATH = re.compile(
    r"""(?<![\w./~-])(?:/(?:home|root|work|tmp|Users|private|mnt)/[\w.-]|[A-Z]:\\\\?Users|file://)|ipykernel_\d+"""
)
_ADDRESS = re.compile(r"<[^<>\n]* at 0x[0-9a-f]{6,}>")
_LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)|(?:href|src)=["']([^"']+)["']""")
_PICTURE = re.compile(r"data:image/svg\+xml;base64,([\w+/=]+)")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.S | re.M)


def problems(path: Path) -> list[str]:
    """Every place where the notebook at `path` breaks a rule, as `NAME: cell N: what`; an empty list is
    what one hopes for.
    """
    raw = path.read_bytes()
    found = list(_file_problems(raw))
    try:
        notebook = json.loads(raw.decode("utf-8"))
        nbformat.validate(notebook)
    except (ValueError, nbformat.ValidationError) as error:
        return [
            f"{path.name}: {each}" for each in [*found, f"not a valid notebook: {str(error).splitlines()[0]}"]
        ]
    for rule in RULES:
        found += rule(notebook, path)
    return [f"{path.name}: {each}" for each in found]


def as_jupyterlab_saves(notebook: Any) -> str:
    """The text of the file."""
    text: str = nbformat.writes(nbformat.from_dict(notebook))
    return text.removesuffix("\n") + "\n"


def source(cell: Cell) -> str:
    """The text of a cell; the file format allows a list of lines."""
    return _text(cell["source"])


def tags(cell: Cell) -> set[str]:
    """The cell's tags."""
    return set(cell["metadata"].get("tags", []))


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def _code(notebook: dict[str, Any]) -> Iterator[tuple[int, Cell]]:
    """The code cells that hold code, with their number among all cells."""
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == "code" and source(cell).strip():
            yield number, cell


def _file_problems(raw: bytes) -> Iterator[str]:
    if len(raw) > MAX_BYTES:
        yield f"{len(raw):,} bytes; at most {MAX_BYTES:,} (a smaller figure, or one fewer)"
    if b"\r" in raw:
        yield "has carriage returns; lines end with LF alone"
    if not raw.endswith(b"\n"):
        yield "the file does not end with a newline"


def metadata_is_plain(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    """Kernel python3, cell ids, and nothing one editor or one run left behind."""
    kernel = notebook["metadata"].get("kernelspec", {}).get("name")
    if kernel != "python3":
        yield f"kernelspec is {kernel!r}; it must be 'python3', which every installation has"
    if (notebook["nbformat"], notebook["nbformat_minor"]) < (4, 5):
        yield "older than format 4.5: its cells have no ids"
    for key in sorted(set(notebook["metadata"]) - {"kernelspec", "language_info", "title"}):
        yield f"metadata has {key!r}; only kernelspec, language_info and title belong in a saved notebook"


def form_is_jupyterlabs(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    """Who only opens it changes no byte of it."""
    if path.read_text(encoding="utf-8") != as_jupyterlab_saves(notebook):
        yield "not in the form in which JupyterLab saves (python -m tests.notebooks.save writes it)"


def it_was_run_from_top_to_bottom(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    """Every code cell has run, in order, and the outputs are there."""
    code = list(_code(notebook))
    for expected, (number, cell) in enumerate(code, 1):
        if cell.get("execution_count") != expected:
            yield (
                f"cell {number}: saved with count {cell.get('execution_count')}, not "
                f"{expected}; restart, run all, save"
            )
            break
    if code and not any(cell["outputs"] for _, cell in code):
        yield "saved without outputs"


def errors_are_announced(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    """An error output only in a cell tagged raises-exception, and the tag only where there
    is one; no warnings.
    """
    for number, cell in _code(notebook):
        failed = [output for output in cell["outputs"] if output["output_type"] == "error"]
        announced = "raises-exception" in tags(cell)
        if failed and not announced:
            yield f"cell {number}: ends in {failed[0]['ename']} and is not tagged raises-exception"
        if announced and not failed:
            yield f"cell {number}: tagged raises-exception, but raises none"
        if any(output.get("name") == "stderr" for output in cell["outputs"]):
            yield f"cell {number}: prints to stderr (a warning?)"


def cells_are_short(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    """At most 25 lines in a code cell; half of the cells at most 4."""
    lengths = [(number, len(source(cell).splitlines())) for number, cell in _code(notebook)]
    for number, length in lengths:
        if length > MAX_LINES:
            yield (
                f"cell {number}: {length} lines of code; at most {MAX_LINES} (the "
                "rest belongs in the package)"
            )
    if lengths and median(length for _, length in lengths) > MAX_MEDIAN:
        yield (
            f"code cells have a median of {median(length for _, length in lengths):g} "
            f"lines; at most {MAX_MEDIAN}"
        )


def prose_carries_the_code(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    """8 to 20 words of prose for each line of code that a student sees (solutions are folded away)."""
    words = sum(
        len(_FENCE.sub("", source(cell)).split())
        for cell in notebook["cells"]
        if cell["cell_type"] == "markdown"
    )
    shown = [cell for _, cell in _code(notebook) if "solution" not in tags(cell)]
    lines = sum(1 for cell in shown for line in source(cell).splitlines() if line.strip())
    low, high = WORDS_PER_LINE
    if lines and not low <= words / lines <= high:
        yield (
            f"{words} words for {lines} lines of code are {words / lines:.1f} a line; "
            f"{low} to {high} read well"
        )


def nothing_names_this_machine(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    """No absolute path, no memory address, no note to oneself, in sources and in outputs."""
    for number, cell in enumerate(notebook["cells"], 1):
        for text in (source(cell), *_output_texts(cell)):
            if match := _MACHINE_PATH.search(text):
                yield (
                    f"cell {number}: names a path of one machine: {text[match.start() : match.end() + 20]!r}"
                )
            if match := _ADDRESS.search(text):
                yield f"cell {number}: shows a default repr: {match.group()}"
        if re.search(r"\b(TODO|FIXME|XXX)\b", source(cell)):
            yield f"cell {number}: has a note to oneself (TODO, FIXME)"


def no_output_quotes_a_line_number(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    """A place in our source is a function and a file: with its line, every edit above it
    would change the notebook.
    """
    for number, cell in _code(notebook):
        for text in _output_texts(cell):
            pictures = [b64decode(each).decode("utf-8") for each in _PICTURE.findall(text)]
            for each in (text, *pictures):
                if match := re.search(r"[\w/]+\.py:\d+", each):
                    yield (
                        f"cell {number}: quotes a line number: {match.group()}; "
                        "print(report(...)) leaves it out"
                    )


def _output_texts(cell: Cell) -> Iterator[str]:
    for output in cell.get("outputs", []):
        yield _text(output.get("text", ""))
        yield "\n".join(output.get("traceback", []))
        for kind, data in output.get("data", {}).items():
            if kind.startswith("text/") or kind == "image/svg+xml":
                yield _text(data)


def solutions_are_folded_and_run(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    """A solution is tagged, its source hidden, and it has run; hidden source is always a solution."""
    for number, cell in _code(notebook):
        hidden = bool(cell["metadata"].get("jupyter", {}).get("source_hidden"))
        tagged = "solution" in tags(cell)
        if re.match(r"#\s*solution\b", source(cell), re.I) and not tagged:
            yield f"cell {number}: begins as a solution and is not tagged solution"
        if tagged and not hidden:
            yield f"cell {number}: a solution whose source is not hidden (metadata: jupyter.source_hidden)"
        if hidden and not tagged:
            yield f"cell {number}: hides its source and is not tagged solution"
        if tagged and cell.get("execution_count") is None:
            yield f"cell {number}: a solution that was not run"


def knobs_say_that_they_need_a_kernel(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    """A cell with knobs is tagged what-if, so that pages show its line of text, and has that line."""
    for number, cell in _code(notebook):
        knobs = re.search(r"^what_if\(", source(cell), re.M) is not None
        if knobs != ("what-if" in tags(cell)):
            yield f"cell {number}: {'has knobs, and is not' if knobs else 'no knobs, and is'} tagged what-if"
        if knobs and "They need a kernel" not in "".join(_output_texts(cell)):
            yield f"cell {number}: no line says that its knobs need a kernel; let what_if(...) come last"


def no_widget_state_is_saved(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    """A widget is saved as its text and its still picture: a model id of a kernel long
    gone shows an error.
    """
    for number, cell in _code(notebook):
        if any(WIDGET_VIEW in output.get("data", {}) for output in cell["outputs"]):
            yield (
                f"cell {number}: saved with a widget model of a kernel that is gone; save with python -m "
                "tests.notebooks.save"
            )


def links_resolve(notebook: dict[str, Any], path: Path) -> Iterator[str]:
    """Every link that stays inside the project leads to a file, and every #anchor to a heading."""
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == "markdown":
            for link in links(source(cell)):
                if problem := broken(link, path, set(cell.get("attachments", {}))):
                    yield f"cell {number}: {problem}"


def links(markdown: str) -> list[str]:
    """What a text links to, code blocks aside."""
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", markdown))
    return [plain or html for plain, html in _LINK.findall(text)]


def broken(link: str, home: Path, attachments: Collection[str] = ()) -> str | None:
    """Why `link`, found in the file `home`, leads nowhere; None where it does, or leads outside."""
    if re.match(r"(https?|mailto|data):", link):
        return None
    if link.startswith("attachment:"):
        return None if link.removeprefix("attachment:") in attachments else f"no attachment {link!r}"
    name, _, anchor = unquote(link).partition("#")
    target = (home.parent / name) if name else home
    if not target.exists():
        return f"links to {link!r}, which does not exist"
    if anchor and target.suffix in {".ipynb", ".md"} and anchor not in anchors(target):
        return f"links to {link!r}; there is no such heading in {target.name}"
    return None


def anchors(path: Path) -> set[str]:
    """The anchors of a file's headings: as Jupyter makes them in a notebook, as code hosts make them
    in a .md file.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join(source(cell) for cell in cells if cell["cell_type"] == "markdown")
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*#*$", _FENCE.sub("", text), re.M)
    plain = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    if path.suffix == ".ipynb":
        return {heading.replace(" ", "-") for heading in plain}
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


RULES: tuple[Rule, ...] = (
    metadata_is_plain,
    form_is_jupyterlabs,
    it_was_run_from_top_to_bottom,
    errors_are_announced,
    cells_are_short,
    prose_carries_the_code,
    nothing_names_this_machine,
    no_output_quotes_a_line_number,
    solutions_are_folded_and_run,
    knobs_say_that_they_need_a_kernel,
    no_widget_state_is_saved,
    links_resolve,
)
