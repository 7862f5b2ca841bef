"""`vtdkit doctor`: what this installation has, what it lacks, and what to do about it.

One line a check, in a fixed order: PASS, WARN (something optional is missing), FAIL (lessons or tests
will not work). Nothing is changed, nothing is started, the network is not asked. Exit status 1 if a line
says FAIL. `--json` prints the same as a list.

Versions are compared with the ranges that the package declares. What only tests and benchmarks need is looked
for in a clone alone: an installed copy brings neither. Lessons and guests' tables are looked for
where `vtdkit lab` takes them from.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from .classroom import GUESTS, PACKAGE, NotShipped, shipped

PYTHON = (3, 11)
REQUIRED = "notebooks"
"""The extra without which no lesson runs; packages of the others are optional."""
EXTENSIONS = {"anywidget": "anywidget", "@jupyter-widgets/jupyterlab-manager": "ipywidgets"}
"""JupyterLab extensions that widgets need, and the package that brings each."""
CLONE = not (PACKAGE / "shipped").is_dir()
PROGRAMS = {
    "chromium": (("chromium", "chromium-browser", "google-chrome"), "browser tests skip without it"),
    "npm": (("npm",), "make handouts fetches the widget manager with it, once"),
}
INSTALL = "pip install 'vtdkit[{}]', in a clone pip install -e '.[{}]'"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: PASS, WARN or FAIL, what was looked at, what was found."""

    verdict: str
    what: str
    found: str

    def __str__(self) -> str:
        return f"{self.verdict}  {self.what}: {self.found}"


def examine() -> Iterator[Check]:
    """Every check, in order."""
    python = python_version(sys.version_info[:3])
    yield python
    if python.verdict == "FAIL":
        return  # nothing else can be told before that is mended
    yield from packages(requirements())
    yield kernel()
    yield from extensions()
    for what, (names, use) in PROGRAMS.items():
        if CLONE or what == "npm":
            yield program(what, names, use)
    yield from lessons()


def python_version(version: tuple[int, ...]) -> Check:
    """Whether Python is new enough."""
    text, floor = (".".join(map(str, each)) for each in (version, PYTHON))
    return Check("PASS" if version >= PYTHON else "FAIL", "Python", f"{text} (needs {floor} or newer)")


def requirements() -> dict[str, tuple[str, str]]:
    """Each package of the extras that count here: the range declared, and the extra that needs it most."""
    try:
        lines = metadata.requires("vtdkit") or []
    except metadata.PackageNotFoundError:
        return {}
    # the extras name each other as vtdkit[...], which is no package
    form = re.compile(r"([\w.-]+)([^;\[]*);.*extra\s*==\s*['\"](\w+)")
    found = [match for line in lines if (match := form.match(line)) and (CLONE or match[3] == REQUIRED)]
    found.sort(key=lambda match: match[3] == REQUIRED)
    return {match[1]: (match[2].strip(), match[3]) for match in found}  # the last one counts


def packages(needs: dict[str, tuple[str, str]]) -> Iterator[Check]:
    """Each package: there, and in the declared range?"""
    if not needs:
        yield Check("FAIL", "packages", f"vtdkit is not installed; {INSTALL.format(REQUIRED, REQUIRED)}")
    for name, (wanted, extra) in needs.items():
        yield package(name, wanted, extra)


def package(name: str, wanted: str, extra: str) -> Check:
    """One package, its range as in pyproject.toml."""
    bad, cure = "FAIL" if extra == REQUIRED else "WARN", INSTALL.format(extra, extra)
    try:
        version = metadata.version(name)
        from packaging.specifiers import SpecifierSet
    except metadata.PackageNotFoundError:
        return Check(bad, name, f"not installed (wanted {wanted or 'any'}; {cure})")
    except ImportError:
        why = "the package packaging is not installed"
        return Check("WARN", name, f"{version} (cannot compare with {wanted}: {why})")
    if not SpecifierSet(wanted).contains(version, prereleases=True):
        return Check(bad, name, f"{version} is not in {wanted}; {cure}")
    return Check("PASS", name, f"{version} ({wanted or 'any'})")


def kernel() -> Check:
    """Whether the kernel python3 of the notebooks is there, and runs this Python."""
    what = "kernel python3"
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        spec = KernelSpecManager().get_kernel_spec("python3")
    except ImportError:
        return Check("FAIL", what, f"jupyter_client is not installed; {INSTALL.format(REQUIRED, REQUIRED)}")
    except KeyError:  # NoSuchKernel
        return Check("FAIL", what, "not found; python -m ipykernel install --sys-prefix")
    runs = Path(shutil.which(spec.argv[0]) or spec.argv[0])
    # jupyter_client runs a bare "python" as the Python it runs in itself.
    if spec.argv[0] in {"python", "python3"} or runs.parent == Path(sys.executable).parent:
        return Check("PASS", what, spec.resource_dir)
    return Check("WARN", what, f"{spec.resource_dir} runs another Python, {runs}; is vtdkit installed there?")


def extensions() -> Iterator[Check]:
    """The extensions of JupyterLab that widgets need."""
    try:
        from jupyter_core.paths import jupyter_path
    except ImportError:
        return  # the kernel's line has said so
    for name, source in EXTENSIONS.items():
        places = [Path(path) / name for path in jupyter_path("labextensions")]
        found = [str(place) for place in places if (place / "package.json").is_file()]
        cure = f"not found; pip install --force-reinstall {source}, then restart JupyterLab"
        yield Check("PASS" if found else "FAIL", f"lab extension {name}", (found or [cure])[0])


def program(what: str, names: Sequence[str], use: str) -> Check:
    """A program that is optional."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    return Check("PASS", what, found) if found else Check("WARN", what, f"not found; {use}")


def lessons() -> Iterator[Check]:
    """Whether the lessons and the guests' tables they read are there."""
    try:
        names = list(shipped("notebooks").glob("*.ipynb"))
        missing = [guest for guest in GUESTS if not (shipped("reality") / guest / "meta.json").is_file()]
    except NotShipped as error:
        yield Check("FAIL", "lessons", str(error))
        return
    yield Check("PASS" if names else "FAIL", "lessons", f"{len(names)} notebooks")
    found = f"{', '.join(missing)} not there" if missing else f"{len(GUESTS)} folders"
    yield Check("FAIL" if missing else "PASS", "tables of real guests", found)


def main(argv: list[str]) -> int:
    """The verb `doctor`; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="vtdkit doctor", description="check this installation, one line for each thing"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of lines")
    options = parser.parse_args(argv)
    checks = list(examine())
    lines = json.dumps([asdict(check) for check in checks], indent=2)
    print(lines if options.json else "\n".join(map(str, checks)))
    return 1 if any(check.verdict == "FAIL" for check in checks) else 0
