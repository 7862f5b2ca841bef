"""What is fetched is what was meant, and nothing in an archive decides where it is written."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from vtdkit.lab.handouts.vendor import REQUIRE, WIDGETS, Package, VendorError, fetched, unpack


def archive(folder: Path, package: Package, **members: bytes) -> Package:
    """A package of these members in the cache `folder`, with its right sum."""
    with tarfile.open(folder / package.archive, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    digest = hashlib.sha512((folder / package.archive).read_bytes()).digest()
    return replace(package, integrity="sha512-" + base64.b64encode(digest).decode())


def test_names_are_those_that_npm_gives() -> None:
    assert [package.archive for package in (REQUIRE, WIDGETS)] == [
        "requirejs-2.3.8.tgz",
        "jupyter-widgets-html-manager-1.0.15.tgz",
    ]


def test_an_archive_with_another_sum_is_refused(tmp_path: Path) -> None:
    package = archive(tmp_path, REQUIRE, **{"package__require.js": b"1"})
    assert fetched(package, tmp_path) == tmp_path / REQUIRE.archive
    with pytest.raises(
        VendorError, match=r"tgz is not requirejs 2\.3\.8: its sum is sha512-.*; delete it and build again"
    ):
        fetched(REQUIRE, tmp_path)


def test_without_npm_it_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        VendorError, match=r"needed once, to fetch requirejs@2\.3\.8: install Node\.js, or put requirejs-"
    ):
        fetched(REQUIRE, tmp_path)


def test_only_listed_members_leave_an_archive(tmp_path: Path) -> None:
    package = archive(
        tmp_path, REQUIRE, **{"package__require.js": b"1", "..__evil.js": b"2", "package__other.js": b"3"}
    )
    out = tmp_path / "out"
    out.mkdir()
    unpack(package, tmp_path / package.archive, out)
    assert sorted(path.name for path in tmp_path.rglob("*.js")) == ["require.js"]
