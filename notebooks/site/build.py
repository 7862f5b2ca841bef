"""`make site`: the lessons as a site that runs them in the reader's browser, with nothing to install.

JupyterLite draws JupyterLab from plain files, and Pyodide is Python for a browser; both come from PyPI and
npm, by version, and neither the build nor the site asks anything of other places. What is done here beyond
`jupyter lite build` is what makes the first cell come soon:

- every package the kernel needs, ours and our lessons among them, stands in Pyodide's own list (its lock
  file), so that it loads them in one go and no installer runs in the browser;
- each of them carries its byte code, made by the same Python that runs in the browser;
- the landing page asks the browser to fetch all of it while the list of lessons is read.

The environment that runs this has `requirements.txt` of this folder (`make site` makes it). Needs npm and
node. Output: a folder for any static host. Raises SystemExit with a sentence where something cannot be had.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template
from typing import Any

from vtdkit.lab.handouts.vendor import Package, VendorError, fetched, unpack

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
KERNEL = Path(sys.prefix) / "share/jupyter/labextensions/@jupyterlite/pyodide-kernel-extension/static/pypi"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every file in a wheel: same tree, same bytes

PYTHON_IN_BROWSER = {
    "pyodide.mjs",
    "pyodide.asm.mjs",
    "pyodide.asm.wasm",
    "python_stdlib.zip",
    "pyodide-lock.json",
}
PYODIDE = Package(
    "pyodide",
    "314.0.7",
    "sha512-0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A==",
    {f"package/{name}": name for name in sorted(PYTHON_IN_BROWSER)},
)
PLATFORM = [
    *("--only-binary", ":all:", "--python-version", "3.14", "--implementation", "cp", "--abi", "cp314"),
    *("--abi", "none", "--platform", "pyemscripten_2026_0_wasm32", "--platform", "any"),
]
#: JupyterLite's stand-ins for packages that make no sense in a browser, and its kernel
STAND_INS = ("ipykernel", "piplite", "pyodide_kernel", "widgetsnbextension-4")
UNUSABLE = ("pexpect", "ptyprocess")  # asked for by IPython on systems that have terminals


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="build the site that runs the lessons in a browser")
    parser.add_argument("--out", type=Path, default=PROJECT / "build/site", help="the folder to write")
    parser.add_argument("--read", type=Path, help="a folder of handouts, to be linked for reading")
    parser.add_argument(
        "--work", type=Path, default=PROJECT / "build/site-work", help="scratch, kept as cache"
    )
    options = parser.parse_args()
    try:
        build(options.out.resolve(), options.work.resolve(), options.read)
    except VendorError as error:
        raise SystemExit(f"make site: {error}") from None


def build(out: Path, work: Path, read: Path | None = None) -> None:
    """The whole site in `out`, written anew; with `read`, the pages to read as well."""
    stage = work / "stage"
    for folder in (out, stage):
        shutil.rmtree(folder, ignore_errors=True)
    pyodide = stage / "static/pyodide"
    unpack(PYODIDE, fetched(PYODIDE, work / "npm"), pyodide)
    wheels = [*_downloaded(work / "wheels"), *_stand_ins(), _ours(work / "ours")]
    _install(wheels, pyodide, work / "unpacked")
    _lessons(stage / "files")
    _settings(stage)
    _run(
        *(sys.executable, "-m", "jupyterlite_core.app", "build"),
        *(
            "--lite-dir",
            stage,
            "--output-dir",
            out,
            "--contents",
            stage / "files",
            "--apps",
            "lab",
            "--no-sourcemaps",
        ),
        "--no-libarchive",
        cwd=stage,  # where it remembers what it has done: the stage is new each time, so nothing is
    )
    if read:
        shutil.copytree(read, out / "read")
    (out / "index.html").write_text(_landing(out), encoding="utf-8")
    shutil.copy(PROJECT / "notebooks/picture.png", out)
    print(f"{out}: {sum(path.stat().st_size for path in out.rglob('*') if path.is_file()) / 1e6:.0f} MB")


def _run(*command: object, cwd: Path = PROJECT) -> None:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=900
    )
    if done.returncode:
        last = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-15:])
        raise SystemExit(f"make site: {command[0]} … ended with {done.returncode}:\n{last}")


def _downloaded(folder: Path) -> list[Path]:
    """The wheels of others, pure or built for the browser."""
    shutil.rmtree(folder, ignore_errors=True)
    packages = [line for line in (HERE / "packages.txt").read_text().split("\n") if line and line[0] != "#"]
    _run(
        sys.executable,
        "-m",
        "pip",
        "download",
        "-qq",
        "--find-links",
        KERNEL,
        *PLATFORM,
        "-d",
        folder,
        *packages,
    )
    return sorted(
        path for path in folder.glob("*.whl") if not path.name.startswith((*UNUSABLE, "widgetsnbextension"))
    )


def _stand_ins() -> list[Path]:
    return sorted(path for path in KERNEL.glob("*.whl") if path.name.startswith(STAND_INS))


def _ours(folder: Path) -> Path:
    """Our own wheel: package, guests' tables and, as a package beside it, the lessons' modules."""
    shutil.rmtree(folder, ignore_errors=True)
    _run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-qq",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        PROJECT,
    )
    return next(folder.glob("vtdkit-*.whl"))


def _place(name: str) -> str | None:
    """Where a member of our wheel goes in the browser's: lessons' modules on top, notebooks nowhere."""
    shipped = "vtdkit/shipped/notebooks/"
    if not name.startswith(shipped):
        return name
    inner = name.removeprefix(shipped)
    return inner if inner.startswith("lessons/") and inner.endswith(".py") else None


def _install(wheels: Iterable[Path], pyodide: Path, scratch: Path) -> None:
    """Put the wheels, with byte code, beside Pyodide and make its list say so."""
    shutil.rmtree(scratch, ignore_errors=True)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                place = _place(name)
                if place and not name.endswith("/"):
                    target = scratch / wheel.name / place
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(name))
    _run("node", HERE / "compile.mjs", pyodide, scratch)
    lock = pyodide / "pyodide-lock.json"
    listed = json.loads(lock.read_text())
    listed["packages"] = dict(_entry(folder, pyodide) for folder in sorted(scratch.iterdir()))
    lock.write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n")


def _entry(folder: Path, pyodide: Path) -> tuple[str, dict[str, object]]:
    """Pack one wheel again; its name and its entry in Pyodide's list."""
    name, version = folder.name.split("-")[:2]
    wheel = pyodide / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, path.read_bytes())
    name = name.replace("_", "-").lower()
    return name, {
        "name": name,
        "version": version,
        "file_name": wheel.name,
        "install_dir": "site",
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "package_type": "package",
        "imports": [],
        "depends": [],
        "unvendored_tests": False,
    }


def _notebooks() -> Iterator[Path]:
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        if path.name != "template.ipynb":
            yield path


def _lessons(folder: Path) -> None:
    """The notebooks for the browser's kernel, which has another name, and the glossary."""
    folder.mkdir(parents=True)
    for path in _notebooks():
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook["metadata"]["kernelspec"] = {
            "display_name": "Python (Pyodide)",
            "language": "python",
            "name": "python",
        }
        (folder / path.name).write_text(
            json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
    shutil.copy(PROJECT / "notebooks/glossary.md", folder)


def _settings(stage: Path) -> None:
    """JupyterLite's configuration: Pyodide from here, all packages at once, no way to ask anywhere else."""
    listed = json.loads((stage / "static/pyodide/pyodide-lock.json").read_text())["packages"]
    kernel = {
        "disablePyPIFallback": True,
        "loadPyodideOptions": {"packages": sorted(listed)},
        "pyodideUrl": "./static/pyodide/pyodide.mjs",
    }
    config = {
        "appName": "vtdkit",
        "exposeAppInBrowser": True,
        "litePluginSettings": {"@jupyterlite/pyodide-kernel-extension:kernel": kernel},
    }
    (stage / "jupyter-lite.json").write_text(
        json.dumps({"jupyter-lite-schema-version": 0, "jupyter-config-data": config}, indent=1)
    )
    quiet = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (stage / "overrides.json").write_text(json.dumps(quiet))


def _landing(out: Path) -> str:
    """The page in front: what this is, the lessons, and the kernel to be fetched meanwhile."""
    kernel = [
        path
        for path in sorted((out / "static/pyodide").iterdir())
        if path.suffix in (".mjs", ".wasm", ".zip", ".whl")
    ]
    kinds = {".mjs": ' as="script" crossorigin'}
    prefetch = [
        f'<link rel="prefetch" href="{path.relative_to(out).as_posix()}"{kinds.get(path.suffix, "")}>'
        for path in kernel
    ]
    lessons = [path for path in _notebooks() if path.name[0].isdigit()]
    return Template((HERE / "landing.html").read_text(encoding="utf-8")).substitute(
        first=lessons[0].name,
        lessons="\n".join(_line(path, (out / "read").is_dir()) for path in lessons),
        megabytes=round(sum(path.stat().st_size for path in kernel) / 1e6),
        prefetch="\n".join(prefetch),
    )


def _line(path: Path, read: bool) -> str:
    """One lesson: its name, what it is about, where it runs and where it is read."""
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    title, about, *_ = [*(line for line in "".join(cells[0]["source"]).split("\n") if line.strip()), ""]
    title = html.escape(title.lstrip("# "))
    about = re.sub(r"\*\*|\*", "", about) if about.startswith("*") and not about.startswith("**") else ""
    links = f'<a href="lab/index.html?path={path.name}" aria-label="Run {title}">Run</a>'
    if read:
        links += f' · <a href="read/{path.stem}.html" aria-label="Read {title}">Read</a>'
    return f"<li><strong>{title}</strong><p>{html.escape(about)}</p>{links}</li>"


if __name__ == "__main__":
    main()
