"""`python -m vtdkit doctor`: what this installation has, what it lacks, and what to do about it.

One line a check, in a fixed order: PASS, WARN (something optional is missing), FAIL (lessons or tests
will not work). Nothing is changed, nothing is started, the network is not asked. Exit status 1 if a line
says FAIL. `--json` prints the same as a list.

Versions are compared with the ranges the package itself declares: in pyproject.toml of a checkout, or
as it was installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = (3, 11)
REQUIRED = "notebooks"
"""The extra without which no lesson runs; packages of the others are optional."""
EXTENSIONS = {"anywidget": "anywidget", "@jupyter-widgets/jupyterlab-manager": "ipywidgets"}
"""JupyterLab extensions that widgets need, and the package that brings each."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: PASS, WARN or FAIL, what was looked at, what was found."""

    verdict: str
    what: str
    found: str

    def __str__(self) -> str:
        return f"{self.verdict}  {self.what}: {self.found}"


def examine(root: Path = ROOT) -> Iterator[Check]:
    """Every check, in order. `root` is the checkout that notebooks and recorded machines
    are looked for in.
    """
    python = python_version(sys.version_info[:3])
    yield python
    if python.verdict == "FAIL":
        return  # nothing else can be told before that is mended
    yield from packages(requirements(root))
    yield kernel()
    yield from extensions()
    yield program(
        "chromium", ("chromium", "chromium-browser", "google-chrome"), "browser tests skip without it"
    )
    yield program("npm", ("npm",), "make handouts fetches the widget manager with it, once")
    yield notebooks(root)
    yield reality(root)


def python_version(version: tuple[int, ...]) -> Check:
    """Whether Python is new enough."""
    text = ".".join(map(str, version))
    floor = ".".join(map(str, PYTHON))
    return Check("PASS" if version >= PYTHON else "FAIL", "Python", f"{text} (needs {floor} or newer)")


def requirements(root: Path) -> dict[str, list[str]]:
    """What each extra needs, as requirement texts without the extras' own names."""
    try:
        import tomllib  # an older Python has none, and a line is to say so rather than this import

        declared = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "optional-dependencies"
        ]
    except (OSError, KeyError, ValueError):
        declared = _installed_requirements()
    return {
        extra: [text for text in texts if not text.startswith("vtdkit[")] for extra, texts in declared.items()
    }


def _installed_requirements() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    try:
        lines = metadata.requires("vtdkit") or []
    except metadata.PackageNotFoundError:
        return found
    for line in lines:
        text, _, marker = line.partition(";")
        if match := re.search(r"extra\s*==\s*['\"](\w+)", marker):
            found.setdefault(match[1], []).append(text.strip())
    return found


def packages(needs: dict[str, list[str]]) -> Iterator[Check]:
    """Each package of the extras, once, for the first that needs it: there, and in the declared range?"""
    if not needs.get(REQUIRED):
        yield Check(
            "FAIL", "packages", "vtdkit is neither installed nor in its checkout; pip install -e .[notebooks]"
        )
    wanted: dict[str, tuple[str, str]] = {}
    for extra, texts in needs.items():
        for text in texts:
            wanted.setdefault(_name(text), (text, extra))
    for text, extra in wanted.values():
        yield package(text, extra)


def _name(text: str) -> str:
    return re.split(r"[<>=!~\s\[]", text, maxsplit=1)[0]


def package(text: str, extra: str) -> Check:
    """One package, `text` as in pyproject.toml."""
    name = _name(text)
    wanted = text[len(name) :].strip()
    bad = "FAIL" if extra == REQUIRED else "WARN"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(bad, name, f"not installed (wanted {wanted or 'any'}; pip install -e .[{extra}])")
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return Check(
            "WARN", name, f"{version} (cannot compare with {wanted}: the package packaging is not installed)"
        )
    if not SpecifierSet(wanted).contains(version, prereleases=True):
        return Check(bad, name, f"{version} is not in {wanted}; pip install -e .[{extra}]")
    return Check("PASS", name, f"{version} ({wanted})")


def kernel() -> Check:
    """Whether the kernel python3 of the notebooks is there, and runs this Python."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        spec = KernelSpecManager().get_kernel_spec("python3")
    except ImportError:
        return Check("FAIL", "kernel python3", "jupyter_client is not installed; pip install -e .[notebooks]")
    except KeyError:  # NoSuchKernel
        return Check("FAIL", "kernel python3", "not found; python -m ipykernel install --sys-prefix")
    program = Path(shutil.which(spec.argv[0]) or spec.argv[0])
    # jupyter_client runs a bare "python" as the Python it runs in itself.
    if spec.argv[0] in {"python", "python3"} or program.parent == Path(sys.executable).parent:
        return Check("PASS", "kernel python3", spec.resource_dir)
    return Check(
        "WARN",
        "kernel python3",
        f"{spec.resource_dir} runs another Python, {program}; is vtdkit installed there?",
    )


def extensions() -> Iterator[Check]:
    """The extensions of JupyterLab that widgets need."""
    try:
        from jupyter_core.paths import jupyter_path
    except ImportError:
        yield Check("FAIL", "lab extensions", "jupyter_core is not installed; pip install -e .[notebooks]")
        return
    for name, source in EXTENSIONS.items():
        places = [
            Path(path) / name
            for path in jupyter_path("labextensions")
            if (Path(path) / name / "package.json").is_file()
        ]
        if places:
            yield Check("PASS", f"lab extension {name}", str(places[0]))
        else:
            cure = f"pip install --force-reinstall {source}, then restart JupyterLab"
            yield Check("FAIL", f"lab extension {name}", f"not found; {cure}")


def program(what: str, names: tuple[str, ...], use: str) -> Check:
    """A program that is optional."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    return Check("PASS", what, found) if found else Check("WARN", what, f"not found; {use}")


def notebooks(root: Path) -> Check:
    """Whether the lessons are beside the package."""
    names = sorted(path.name for path in (root / "notebooks").glob("*.ipynb"))
    if not names:
        return Check(
            "WARN",
            "notebooks",
            f"none in {root / 'notebooks'}; they come with the source, not with the package",
        )
    return Check("PASS", "notebooks", f"{len(names)}, {names[0]} to {names[-1]}")


def reality(root: Path) -> Check:
    """Whether the recorded tables of real machines are as they were recorded."""
    folder = root / "tests" / "reality"
    what = "tables of real machines"
    try:
        lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    except OSError:
        return Check(
            "WARN", what, f"no {folder / 'SHA256SUMS'}; they come with the source, not with the package"
        )
    bad = []
    for line in lines:
        digest, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file():
            bad.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            bad.append(f"{name} was changed")
    if bad:
        return Check(
            "FAIL",
            what,
            f"{bad[0]}{f', and {len(bad) - 1} more' if bad[1:] else ''}; git checkout tests/reality",
        )
    folders = {line.partition("  ")[2].partition("/")[0] for line in lines}
    return Check("PASS", what, f"{len(folders)} folders, {len(lines)} files unchanged")


def main(argv: list[str]) -> int:
    """The verb `doctor`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vtdkit doctor", description="check this installation, one line for each thing"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of lines")
    options = parser.parse_args(argv)
    checks = list(examine())
    if options.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print("\n".join(map(str, checks)))
    return 1 if any(check.verdict == "FAIL" for check in checks) else 0
