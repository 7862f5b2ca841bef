"""What the doctor says of healthy and of broken installations."""

from __future__ import annotations

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
        "notebooks",
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
    ("text", "extra", "expected"),
    [
        ("pytest>=1", "test", "PASS"),
        ("pytest>=999", "test", "WARN"),
        ("pytest>=999", "notebooks", "FAIL"),
        ("no-such-package>=1,<2", "dev", "WARN"),
        ("no-such-package>=1,<2", "notebooks", "FAIL"),
    ],
)
def test_a_package_is_compared_with_its_range(text: str, extra: str, expected: str) -> None:
    check = doctor.package(text, extra)
    assert check.verdict == expected
    if expected != "PASS":
        assert f"pip install -e .[{extra}]" in check.found


def test_a_package_that_two_extras_need_is_one_line() -> None:
    needs = {"notebooks": ["pytest>=1"], "test": ["pytest>=1", "hypothesis>=1"]}
    assert [check.what for check in doctor.packages(needs)] == ["pytest", "hypothesis"]


def test_ranges_come_from_the_checkout_or_else_from_the_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = doctor.requirements(ROOT)
    assert set(declared) == {"notebooks", "test", "browser", "dev"}
    assert not any(text.startswith("vtdkit") for texts in declared.values() for text in texts)
    installed = [
        "anywidget<1,>=0.9.13; extra == 'notebooks'",
        'pytest; extra == "test"',
        "vtdkit[notebooks]; extra == 'test'",
    ]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: installed)
    assert doctor.requirements(tmp_path) == {"notebooks": ["anywidget<1,>=0.9.13"], "test": ["pytest"]}


def test_neither_installed_nor_a_checkout_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> list[str]:
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", missing)
    (only,) = doctor.packages(doctor.requirements(tmp_path))
    assert only.verdict == "FAIL"


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


def test_recorded_machines_that_were_changed_or_lost_are_named(tmp_path: Path) -> None:
    assert doctor.reality(ROOT).verdict == "PASS"
    assert doctor.reality(tmp_path).verdict == "WARN"
    folder = tmp_path / "tests" / "reality"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "x").write_bytes(b"x")
    digest = doctor.hashlib.sha256(b"x").hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  a/x\n{digest}  a/y\n{digest}  a/z\n", encoding="utf-8")
    assert doctor.reality(tmp_path).found == "a/y is missing, and 1 more; git checkout tests/reality"
    (folder / "a" / "x").write_bytes(b"changed")
    assert doctor.reality(tmp_path).found.startswith("a/x was changed, and 2 more")


def test_the_sums_cover_every_recorded_file() -> None:
    folder = ROOT / "tests" / "reality"
    listed = [
        line.partition("  ")[2] for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    ]
    assert listed == sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*"))


def test_notebooks_are_counted(tmp_path: Path) -> None:
    assert doctor.notebooks(tmp_path).verdict == "WARN"
    (tmp_path / "notebooks").mkdir()
    for name in ("01-b", "00-a"):
        (tmp_path / "notebooks" / f"{name}.ipynb").touch()
    assert doctor.notebooks(tmp_path) == Check("PASS", "notebooks", "2, 00-a.ipynb to 01-b.ipynb")
