"""`make site`: the lessons as a site that runs them in the reader's browser, with nothing to install.

JupyterLite draws JupyterLab from plain files, and Pyodide is Python for a browser; both come from PyPI and
npm, by version, and neither the build nor the site asks anything of other places. What is done here beyond
`jupyter lite build` is what makes the first cell come soon:

- Python starts from its memory as it is once everything is imported (`remember.mjs` keeps it, `kernel.mjs`
  takes it up), so that no installer and no import runs in the browser;
- it does so while JupyterLab is still loading (`early.js`);
- the landing page asks the browser to fetch all of it while the list of lessons is read;
- each lesson has a workspace of its own: JupyterLab would open, and start, those of the last visit with it.

The environment that runs this has `requirements.txt` of this folder (`make site` makes it). Needs npm and
node. Output: a folder for any static host. Raises SystemExit with a sentence where something cannot be had.
"""

from __future__ import annotations

import argparse
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
EXTENSION = Path("@jupyterlite/pyodide-kernel-extension/static")
KERNEL = Path(sys.prefix) / "share/jupyter/labextensions" / EXTENSION

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
#: there already, so JupyterLite must not install them
IMPORTED = ("comm", "ipykernel", "ipython", "jedi", "micropip", "piplite", "pyodide-kernel")
#: types of packages that no lesson uses, for completion: three quarters of all files
STUBS = ("jedi/third_party/django-stubs/", "jedi/third_party/typeshed/stubs/")
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
    pyodide.mkdir(parents=True)
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
    page = (out / "lab/index.html").read_text(encoding="utf-8")
    if "<script" not in page:
        raise SystemExit("make site: lab/index.html of JupyterLite has no script any more; see early.js")
    early = page.replace("<script", '<script src="../static/pyodide/early.js"></script><script', 1)
    (out / "lab/index.html").write_text(early, encoding="utf-8")
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
        KERNEL / "pypi",
        *PLATFORM,
        "-d",
        folder,
        *packages,
    )
    return sorted(
        path for path in folder.glob("*.whl") if not path.name.startswith((*UNUSABLE, "widgetsnbextension"))
    )


def _stand_ins() -> list[Path]:
    return sorted(path for path in (KERNEL / "pypi").glob("*.whl") if path.name.startswith(STAND_INS))


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
    """Where a member of a wheel goes: lessons' modules on top; None if nothing in a browser reads it."""
    inner = name.removeprefix("vtdkit/shipped/notebooks/")
    if inner != name:
        return inner if inner.startswith("lessons/") and inner.endswith(".py") else None
    return None if name.endswith("/") or ".data/" in name or name.startswith(STUBS) else name


def _install(wheels: Iterable[Path], pyodide: Path, scratch: Path) -> None:
    """Unpack the wheels, and put beside Pyodide what its memory is with all of them imported."""
    shutil.rmtree(scratch, ignore_errors=True)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if place := _place(name):
                    target = scratch / place
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(name))
    _run("node", HERE / "remember.mjs", pyodide, scratch, pyodide / "memory.gz")
    lock = pyodide / "pyodide-lock.json"
    lock.write_text(json.dumps(json.loads(lock.read_text()) | {"packages": {}}) + "\n")
    (pyodide / "pyodide.mjs").rename(pyodide / "plain.mjs")
    shutil.copy(HERE / "kernel.mjs", pyodide / "pyodide.mjs")  # the name that JupyterLite looks for
    shutil.copy(HERE / "early.js", pyodide)
    worker = next(KERNEL.glob("comlink.worker.*.js")).name
    lines = [f'import "../../extensions/{EXTENSION.as_posix()}/{worker}";', 'import "./pyodide.mjs";', ""]
    (pyodide / "worker.mjs").write_text("\n".join(lines))


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
    """JupyterLite's configuration: Python from here, packages and all, no way to ask anywhere else."""
    kernel = {
        "disablePyPIFallback": True,
        "loadPyodideOptions": {"packages": IMPORTED},
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
        if path.suffix in (".mjs", ".wasm", ".zip", ".gz")
    ]
    kinds = {".mjs": ' as="script" crossorigin'}
    prefetch = [
        f'<link rel="prefetch" href="{path.relative_to(out).as_posix()}"{kinds.get(path.suffix, "")}>'
        for path in kernel
    ]
    lessons = [path for path in _notebooks() if path.name[0].isdigit()]
    return Template((HERE / "landing.html").read_text(encoding="utf-8")).substitute(
        first=_run_it(lessons[0]),
        lessons="\n".join(_line(path, (out / "read").is_dir()) for path in lessons),
        megabytes=round(sum(path.stat().st_size for path in kernel) / 1e6),
        prefetch="\n".join(prefetch),
    )


def _run_it(path: Path) -> str:
    return f"lab/index.html?path={path.name}&amp;workspace={path.stem}"


def _line(path: Path, read: bool) -> str:
    """One lesson: its name, what it is about, where it runs and where it is read."""
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    title, about, *_ = [*(line for line in "".join(cells[0]["source"]).split("\n") if line.strip()), ""]
    title = html.escape(title.lstrip("# "))
    about = re.sub(r"\*\*|\*", "", about) if about.startswith("*") and not about.startswith("**") else ""
    links = f'<a href="{_run_it(path)}" aria-label="Run {title}">Run</a>'
    if read:
        links += f' · <a href="read/{path.stem}.html" aria-label="Read {title}">Read</a>'
    return f"<li><strong>{title}</strong><p>{html.escape(about)}</p>{links}</li>"


if __name__ == "__main__":
    main()
