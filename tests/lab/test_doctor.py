"""What the doctor says of healthy and of broken installations."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from vtdkit.lab import doctor
from vtdkit.lab.doctor import Check, main

ROOT = Path(__file__).resolve().parents[2]


def test_this_installation_is_healthy_and_says_so_in_lines_and_in_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("PASS  ", "WARN  ")) for line in lines)
    named = [line[6:].split(": ")[0] for line in lines]
    assert named[0] == "Python"
    assert len(named) == len(set(named))
    for what in (
        "anywidget",
        "jupyterlab",
        "pytest",
        "kernel python3",
        "lab extension anywidget",
        "chromium",
        "lessons",
    ):
        assert what in named
    assert main(["--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [f"{each['verdict']}  {each['what']}: {each['found']}" for each in content] == lines


def test_bad_input_is_refused_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--nonsense"])
    assert stopped.value.code == 2
    assert "--nonsense" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("version", "verdict"),
    [((3, 10, 13), "FAIL"), ((3, 11, 0), "PASS"), ((3, 13, 1), "PASS"), ((4, 0, 0), "PASS")],
)
def test_the_floor_of_python(version: tuple[int, ...], verdict: str) -> None:
    assert doctor.python_version(version).verdict == verdict


@pytest.mark.parametrize(
    ("name", "wanted", "extra", "expected"),
    [
        ("pytest", ">=1", "test", "PASS"),
        ("pytest", ">=999", "test", "WARN"),
        ("pytest", ">=999", "notebooks", "FAIL"),
        ("no-such-package", ">=1,<2", "dev", "WARN"),
        ("no-such-package", ">=1,<2", "notebooks", "FAIL"),
    ],
)
def test_a_package_is_compared_with_its_range(name: str, wanted: str, extra: str, expected: str) -> None:
    check = doctor.package(name, wanted, extra)
    assert check.verdict == expected
    if expected != "PASS":
        assert f"pip install 'vtdkit[{extra}]', in a clone pip install -e '.[{extra}]'" in check.found


def declares(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: list(lines))


def test_a_package_that_two_extras_need_is_one_line_and_counts_for_the_lessons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declares(
        monkeypatch,
        "anywidget<1,>=0.9.13; extra == 'dev'",
        "anywidget<1,>=0.9.13; extra == 'notebooks'",
        "anywidget<1,>=0.9.13; extra == 'test'",
        'pytest; extra == "test"',
        "vtdkit[notebooks]; extra == 'test'",
    )
    assert doctor.requirements() == {"pytest": ("", "test"), "anywidget": ("<1,>=0.9.13", "notebooks")}
    assert [check.what for check in doctor.packages(doctor.requirements())] == ["anywidget", "pytest"]


def test_an_installed_copy_is_not_asked_for_what_only_tests_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CLONE", False)
    assert {extra for _, extra in doctor.requirements().values()} == {"notebooks"}
    assert "chromium" not in [check.what for check in doctor.examine()]


def test_not_installed_at_all_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", missing)
    (only,) = doctor.packages(doctor.requirements())
    assert (only.verdict, only.found[:22]) == ("FAIL", "vtdkit is not installe")


def test_a_missing_kernel_and_extension_are_named_with_their_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jupyter_client.kernelspec
    import jupyter_core.paths

    def none_found(self: Any, name: str) -> None:
        raise jupyter_client.kernelspec.NoSuchKernel(name)

    monkeypatch.setattr(jupyter_client.kernelspec.KernelSpecManager, "get_kernel_spec", none_found)
    assert doctor.kernel() == Check(
        "FAIL", "kernel python3", "not found; python -m ipykernel install --sys-prefix"
    )
    monkeypatch.setattr(jupyter_core.paths, "jupyter_path", lambda *parts: [str(tmp_path)])
    assert [str(check) for check in doctor.extensions()] == [
        "FAIL  lab extension anywidget: not found; pip install --force-reinstall "
        "anywidget, then restart JupyterLab",
        "FAIL  lab extension @jupyter-widgets/jupyterlab-manager: not found; "
        "pip install --force-reinstall ipywidgets, then restart JupyterLab",
    ]


def test_optional_programs_are_only_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert doctor.program("chromium", ("chromium",), "browser tests skip without it") == Check(
        "WARN", "chromium", "not found; browser tests skip without it"
    )


def test_the_recorded_machines_are_as_they_were_recorded() -> None:
    folder = ROOT / "tests" / "reality"
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = {path.relative_to(folder).as_posix(): path for path in folder.glob("*/*")}
    assert list(sums) == sorted(there)
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()} == sums


def test_lessons_and_tables_that_are_not_there_are_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [check.verdict for check in doctor.lessons()] == ["PASS", "PASS"]
    monkeypatch.setattr(doctor, "shipped", lambda name: tmp_path)
    assert [str(check) for check in doctor.lessons()] == [
        "FAIL  lessons: 0 notebooks",
        f"FAIL  tables of real guests: {', '.join(doctor.GUESTS)} not there",
    ]

    def none(name: str) -> Path:
        raise doctor.NotShipped("came without")

    monkeypatch.setattr(doctor, "shipped", none)
    assert [str(check) for check in doctor.lessons()] == ["FAIL  lessons: came without"]
