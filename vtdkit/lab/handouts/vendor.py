"""The JavaScript of others that a handout carries with it, fetched once from npm by name and version and
checked by its sum.

The client is `npm pack`; whichever registry it is set up for serves the packages. What it fetched stays in a
cache folder, so that the next build needs no network; a person without npm can put the .tgz files there by
hand. Only the members listed here leave an archive, under names given here: nothing in an archive decides
where it is written.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path


class VendorError(Exception):
    """Something a handout needs cannot be had; the message says what, where it was looked for,
    and what to do.
    """


@dataclass(frozen=True, slots=True)
class Package:
    """One npm package: its version, the sum of its archive (as npm's `dist.integrity`), and
    which member goes where (path in the archive: name in the folder).
    """

    name: str
    version: str
    integrity: str
    members: Mapping[str, str]

    @property
    def archive(self) -> str:
        """The file name `npm pack` gives it."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


REQUIRE = Package(
    "requirejs",
    "2.3.8",
    "sha512-7/cTSLOdYkNBNJcDMWf+luFvMriVm7eYxp4BcFCsAX0wF421Vyce5SXP17c+Jd5otXKGNehIonFlyQXSowL6Mw==",
    {"package/require.js": "require.js"},
)
WIDGETS = Package(
    "@jupyter-widgets/html-manager",
    "1.0.15",
    "sha512-5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDVzRhG9PTeQsRjF3FUTopvFi//SABeNz1yp47bCrJ3CQA==",
    {"package/dist/embed-amd.js": "embed-amd.js"},
)


def vendor(folder: Path, cache: Path) -> None:
    """Write into `folder` all that pages load: require.js, the widget manager, anywidget. Raises
    `VendorError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for package in (REQUIRE, WIDGETS):
        unpack(package, fetched(package, cache), folder)
    try:
        (folder / "anywidget.js").write_bytes((files("anywidget") / "nbextension" / "index.js").read_bytes())
    except (ModuleNotFoundError, FileNotFoundError):
        raise VendorError(
            "anywidget is not installed with its browser part; pip install -e .[notebooks]"
        ) from None


def fetched(package: Package, cache: Path) -> Path:
    """The package's archive in `cache`, fetched if it is not there, its sum checked
    each time. Raises `VendorError`.
    """
    path = cache / package.archive
    if not path.exists():
        _fetch(package, cache)
    found = "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode("ascii")
    if found != package.integrity:
        raise VendorError(
            f"{path} is not {package.name} {package.version}: its sum is {found}; delete it and build again"
        )
    return path


def _fetch(package: Package, cache: Path) -> None:
    npm = shutil.which("npm")
    wanted = f"{package.name}@{package.version}"
    if npm is None:
        raise VendorError(
            f"npm is needed once, to fetch {wanted}: install Node.js, or put {package.archive} into {cache}"
        )
    cache.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", "--silent", wanted, "--pack-destination", str(cache.resolve())]
    try:
        done = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        raise VendorError(f"npm did not fetch {wanted} within 300 s; is there a network?") from None
    if done.returncode or not (cache / package.archive).exists():
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise VendorError(f"npm could not fetch {wanted}: {reason}")


def unpack(package: Package, archive: Path, folder: Path) -> None:
    """Write the members that are wanted, and no other, into `folder`. `archive` is as `fetched` found it, so
    they are there.
    """
    with tarfile.open(archive, "r:gz") as tar:
        for name, target in package.members.items():
            content = tar.extractfile(name)
            assert content is not None, f"{name} is no plain file"
            (folder / target).write_bytes(content.read())
