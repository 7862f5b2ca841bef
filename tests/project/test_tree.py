"""What every file of the project keeps: layers, sizes, no trace of the machine it was written on."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted([*(ROOT / "vtdkit").rglob("*.py"), *ROOT.glob("notebooks/lessons/*/*.py")])
TEXT = {
    ".py",
    ".md",
    ".toml",
    ".yml",
    ".txt",
    ".cfg",
    ".js",
    ".mjs",
    ".css",
    ".json",
    ".ipynb",
    ".j2",
    ".html",
    ".svg",
}
#: a room may import from the rooms before it; vtd and kernel do not know each other
MAY_IMPORT = {
    "vtd": set(),
    "kernel": set(),
    "iommu": {"vtd", "kernel"},
    "series": {"vtd", "kernel", "iommu"},
    "lab": {"vtd", "kernel", "iommu", "series"},
    "views": {"vtd", "kernel", "iommu", "series", "lab"},
    "explain": {"vtd", "kernel", "iommu", "series", "lab", "views"},
}
NO_DRAWING = ("vtd", "kernel", "iommu", "series")
DRAWS = {"matplotlib", "ipywidgets", "anywidget", "IPython"}


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_of_the_project_is_a_link() -> None:
    done = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    assert [line for line in done.stdout.splitlines() if line.startswith("120000")] == []


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[str]:
    """The modules a file imports, relative imports made absolute."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (
                [f"{module}.{alias.name}" for alias in node.names] if module == "vtdkit" else [module]
            )


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_from_the_rooms_before_it(room: str) -> None:
    for path in sorted((ROOT / "vtdkit" / room).rglob("*.py")):
        for module in imports(path):
            parts = module.split(".")
            assert parts[0] != "lessons", f"{name_of(path)} imports {module}"
            if parts[0] == "vtdkit" and len(parts) > 1 and parts[1] in MAY_IMPORT:
                assert parts[1] in MAY_IMPORT[room] | {room}, f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("room", NO_DRAWING)
def test_the_model_imports_nothing_that_draws(room: str) -> None:
    for path in sorted((ROOT / "vtdkit" / room).rglob("*.py")):
        for module in imports(path):
            assert module.split(".")[0] not in DRAWS, f"{name_of(path)} imports {module}"


def test_importing_the_model_brings_in_no_other_package() -> None:
    rooms = ", ".join(f"vtdkit.{room}" for room in NO_DRAWING)
    code = (
        f"import sys, vtdkit, {rooms}\nprint(sorted({{'numpy', 'matplotlib', 'ipywidgets', 'anywidget'}} "
        "& set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_starts_with_its_contract_and_stays_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "no module docstring"
    assert len(text.splitlines()) <= 400
    assert not re.search(r"\b(TODO|FIXME)\b|raise NotImplementedError", text)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    assert {name: length for name, length in lengths.items() if length > 60} == {}


def test_half_of_the_functions_have_at_most_ten_lines() -> None:
    lengths = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert median(lengths) <= 10


def test_no_file_tells_which_machine_it_was_written_on() -> None:
    # Pieces are put together here, or this file would find itself.
    hosts = "|".join(
        ["pypi" + r"\.org", "pythonhosted" + r"\.org", "registry" + r"\.npmjs", "deb" + r"\.debian"]
    )
    machine = re.compile(
        r"(?<![\w.])/(?:" + "root|home|work|farm" + r")/[\w.]|/tmp/" + r"(?:venv|wt-)|" + hosts
    )
    for path in tracked():
        if path.suffix in TEXT or path.name in {"Makefile", "run", ".gitignore"}:
            found = machine.search(path.read_text(encoding="utf-8"))
            # A made-up path in a test of the rule itself is meant.
            if found and path.name not in {"test_nbchecks.py"}:
                pytest.fail(f"{name_of(path)}: {found.group()}")


def test_nothing_that_belongs_to_the_project_is_ignored() -> None:
    command = [
        "git",
        "ls-files",
        "--others",
        "--ignored",
        "--exclude-standard",
        "--",
        "vtdkit",
        "tests",
        "notebooks",
        "benchmarks",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    ignored = [
        name
        for name in done.stdout.splitlines()
        if not re.search(r"__pycache__/|\.ipynb_checkpoints/|\.hypothesis/|^notebooks/run\.json$", name)
    ]
    assert ignored == []


def test_text_files_end_lines_with_lf_and_end_with_a_newline() -> None:
    for path in tracked():
        if path.suffix in TEXT - {".json"} and (raw := path.read_bytes()):
            assert b"\r" not in raw, name_of(path)
            assert raw.endswith(b"\n"), name_of(path)
