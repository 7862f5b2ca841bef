"""pyproject.toml, environment.yml, the lock file and the Makefile say the same thing."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LOCK = (ROOT / "requirements-lock.txt").read_text(encoding="utf-8").splitlines()


def needs(extra: str) -> dict[str, Requirement]:
    """What an extra installs, extras within extras unfolded."""
    found: dict[str, Requirement] = {}
    for text in EXTRAS[extra]:
        requirement = Requirement(text)
        if requirement.name == PROJECT["name"]:
            for inner in sorted(requirement.extras):
                found |= needs(inner)
        else:
            found[canonicalize_name(requirement.name)] = requirement
    return found


def conda() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    return content


def test_conda_installs_this_checkout_with_extras_that_exist_and_nothing_else() -> None:
    *plain, pip = conda()["dependencies"]
    (line,) = pip["pip"]
    match = re.fullmatch(r"-e \.\[([a-z,]+)\]", line)
    assert match is not None
    assert match[1].split(",") == ["notebooks", "test"]
    assert set(match[1].split(",")) <= set(EXTRAS)
    assert [re.split("[=<>]", each)[0] for each in plain] == ["python", "pip"]


def test_conda_has_the_oldest_python_that_the_package_allows() -> None:
    (python,) = [
        each for each in conda()["dependencies"] if isinstance(each, str) and each.startswith("python")
    ]
    assert PROJECT["requires-python"] == ">=" + python.removeprefix("python=")


def test_makefile_refuses_what_the_package_refuses() -> None:
    floor = PROJECT["requires-python"].removeprefix(">=")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"sys.version_info < ({floor.replace('.', ', ')})" in makefile
    assert f"needs Python {floor} or newer" in makefile


def test_the_developer_extra_holds_all_others() -> None:
    assert set(EXTRAS) == {"notebooks", "test", "browser", "dev"}
    for extra in EXTRAS:
        assert set(needs(extra)) <= set(needs("dev"))


@pytest.mark.parametrize("name", sorted(needs("notebooks")))
def test_what_lessons_need_has_a_floor_and_an_upper_major(name: str) -> None:
    operators = {specifier.operator for specifier in needs("notebooks")[name].specifier}
    assert operators == {">=", "<"}


def test_the_package_itself_needs_nothing() -> None:
    assert PROJECT["dependencies"] == []


def locked() -> dict[str, str]:
    return {
        canonicalize_name(name): version
        for name, version in (line.split("==") for line in LOCK if not line.startswith("#"))
    }


def test_the_lock_file_holds_exact_versions_and_nothing_else() -> None:
    assert LOCK[0].startswith("#")
    for line in LOCK:
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line), line
    assert len(locked()) == len([line for line in LOCK if not line.startswith("#")])


@pytest.mark.parametrize("name", sorted(needs("dev")))
def test_a_locked_version_is_in_the_range_of_pyproject(name: str) -> None:
    assert Version(locked()[name]) in needs("dev")[name].specifier


def test_the_lock_file_was_written_with_a_python_that_the_package_allows() -> None:
    written = re.search(r"Python (\d+\.\d+\.\d+)", LOCK[1])
    assert written is not None
    assert written[1] in SpecifierSet(PROJECT["requires-python"])
