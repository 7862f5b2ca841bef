"""Pages opened from disk, with no network: they move, they walk, and a student's has no solution in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebooks.axe import violations
from tests.notebooks.labdriver import ROOT, Watched
from tests.notebooks.made import code, notebook, prose, save
from tests.notebooks.tiny import WIDGET, tiny_notebook
from vtdkit.lab.handouts import execute
from vtdkit.lab.handouts.commandline import main
from vtdkit.lab.handouts.page import index, page

CACHE = ROOT / "build" / "npm"


def walk_notebook() -> dict[str, Any]:
    """Three screens chosen by tag out of six cells; the second is higher than any window."""
    cells = [
        prose("# One"),
        prose("left out"),
        code(WIDGET),
        prose("## Two\n\n" + "line\n\n" * 200),
        prose("## Three"),
    ]
    cells.append(code('boxes = Boxes(frames=["a", "b"])\nboxes'))
    for number, tag in ((0, "walk"), (3, "walk"), (4, "walk"), (5, "walk-on")):
        cells[number]["metadata"]["tags"] = [tag]
    return notebook(*cells)


def paper_notebook() -> dict[str, Any]:
    """Long lines, an answer that is folded, widgets that are higher than half a page."""
    tall = "Boxes(frames=[chr(10).join(['line'] * 30)])"
    return notebook(
        prose("# Paper"),
        code(WIDGET.replace("const draw", 'root.style.whiteSpace = "pre"; const draw')),
        code("print('x' * 300)  # " + "a long line of code " * 12),
        code("from vtdkit.lab.exercises import predict\npredict('How many?').check(42)"),
        code(tall),
        code(tall),
        code("from vtdkit.lab.lesson import table\ntable(['', 'a', 'b'], ['one', 1, 2])"),
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The handouts and slides of two small notebooks and a glossary."""
    if shutil.which("npm") is None and not any(CACHE.glob("*.tgz")):
        pytest.skip("there is no npm here to fetch the widget manager with (Debian: apt-get install npm)")
    folder = tmp_path_factory.mktemp("notebooks")
    tiny = tiny_notebook()
    tiny["cells"][0]["source"] += " See [the other](02-walk.ipynb) and [words](glossary.md)."
    save(folder / "01-tiny.ipynb", tiny)
    save(folder / "02-walk.ipynb", walk_notebook())
    save(folder / "03-paper.ipynb", paper_notebook())
    (folder / "glossary.md").write_text("# Words\n\n**step**: one press.\n", encoding="utf-8")
    (folder / "TEACHING.md").write_text("# For the teacher\n", encoding="utf-8")
    names = [str(path) for path in sorted(folder.glob("*.ipynb"))]
    for flags in ([], ["--slides"]):
        # A process of its own: a kernel client and the browser's driver cannot share one.
        command = [
            sys.executable,
            "-m",
            "vtdkit",
            "handouts",
            "--out",
            str(folder / "out"),
            "--cache",
            str(CACHE),
            *flags,
            *names,
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.mark.browser
def test_a_page_opened_from_disk_moves_by_arrow_key_without_kernel_or_network(
    built: Path, browser: Any
) -> None:
    with Watched(browser) as watched:
        watched.page.goto((built / "student" / "01-tiny.html").as_uri())
        slider = watched.page.get_by_role("slider", name="step")
        for _ in range(3):
            slider.press("ArrowRight")
        assert slider.inner_text() == "picture 3"
        watched.page.get_by_role("link", name="the other").click()
        watched.page.get_by_role("heading", name="Three").wait_for()
        assert watched.outside == []
        assert watched.page_errors == []


@pytest.mark.browser
def test_solutions_are_folded_for_the_teacher_and_absent_for_the_student(built: Path, browser: Any) -> None:
    student_page = (built / "student" / "01-tiny.html").read_text(encoding="utf-8")
    assert "it is 42" not in student_page
    assert "return 42" not in re.sub(r"<[^>]+>", "", student_page)
    with Watched(browser) as watched:
        watched.page.goto((built / "solutions" / "01-tiny.html").as_uri())
        assert watched.page.get_by_text("it is 42", exact=True).is_visible()
        solution = watched.page.get_by_text("# Solution")
        assert not solution.is_visible()
        watched.page.get_by_text("Show the solution").click()
        assert solution.is_visible()


@pytest.mark.browser
def test_a_folder_lists_its_pages_and_holds_all_they_load(built: Path) -> None:
    pages = {
        folder: sorted(path.name for path in (built / folder).glob("*.html"))
        for folder in ("student", "solutions", "slides")
    }
    assert pages == {
        "student": ["01-tiny.html", "02-walk.html", "03-paper.html", "glossary.html", "index.html"],
        "solutions": [
            "01-tiny.html",
            "02-walk.html",
            "03-paper.html",
            "TEACHING.html",
            "glossary.html",
            "index.html",
        ],
        "slides": ["01-tiny.html", "02-walk.html", "03-paper.html", "index.html"],
    }
    for path in built.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for source in re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"([^\"]+)\"", text):
            assert source.startswith("data:") or (path.parent / source.partition("?")[0]).is_file(), (
                f"{path.name} loads {source}"
            )
    assert '<a href="01-tiny.html">A tiny lesson</a>' in (built / "student" / "index.html").read_text(
        encoding="utf-8"
    )


@pytest.mark.browser
def test_slides_open_as_screens_turned_by_arrow_keys_and_a_widget_keeps_its_own(
    built: Path, browser: Any
) -> None:
    with Watched(browser, height=720) as watched:
        screen = watched.page
        screen.goto((built / "slides" / "02-walk.html").as_uri())
        bar = screen.get_by_role("status")
        assert bar.inner_text().startswith("1 / 3: One · ")
        assert not screen.get_by_text("left out").is_visible()
        screen.keyboard.press("ArrowRight")
        assert bar.inner_text().startswith("2 / 3: Two · ")
        assert not screen.get_by_role("heading", name="One").is_visible()
        screen.keyboard.press("ArrowDown")
        assert bar.inner_text().startswith("2 / 3"), "a screen higher than the window scrolls first"
        screen.keyboard.press("PageDown")
        assert bar.inner_text().startswith("3 / 3: Three · ")
        slider = screen.get_by_role("slider", name="step")
        slider.press("ArrowRight")
        assert slider.inner_text() == "b"
        assert bar.inner_text().startswith("3 / 3"), "the key was the widget's"
        slider.press("Escape")
        screen.keyboard.press("ArrowLeft")
        assert bar.inner_text().startswith("2 / 3")
        screen.keyboard.press("Escape")
        assert screen.get_by_text("left out").is_visible()
        assert (watched.outside, watched.page_errors) == ([], [])


@pytest.mark.browser
def test_any_page_can_be_walked_its_type_is_large_and_code_comes_on_demand(built: Path, browser: Any) -> None:
    with Watched(browser, width=1280, height=720) as watched:
        screen = watched.page
        screen.goto((built / "student" / "01-tiny.html").as_uri())
        before = screen.get_by_text("Press the right arrow key.").bounding_box()["height"]
        screen.keyboard.press("w")
        screen.keyboard.press("ArrowRight")
        text = screen.get_by_text("Press the right arrow key.")
        assert text.bounding_box()["height"] >= 1.5 * before
        source = screen.get_by_text("frames=").last
        assert not source.is_visible()
        screen.keyboard.press("c")
        assert source.is_visible()
        assert screen.url.endswith("#walk=2")
        screen.reload()
        assert screen.get_by_role("status").inner_text().startswith("2 / 4: See it move")
        assert screen.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            "nothing sticks out sideways"
        )


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_against_a_page_in_either_theme(built: Path, browser: Any, scheme: str) -> None:
    with Watched(browser) as watched:
        watched.page.emulate_media(color_scheme=scheme)
        # the slider of the tiny page has no name on purpose
        for path in sorted(path for path in built.glob("*/*.html") if path.name != "01-tiny.html"):
            watched.page.goto(path.as_uri())
            if path.name == "03-paper.html" and path.parent.name != "slides":
                watched.page.get_by_role("slider", name="step").first.wait_for()
            watched.page.evaluate(
                "document.querySelectorAll('details').forEach((each) => (each.open = true))"
            )
            assert violations(watched.page) == [], path


@pytest.mark.browser
def test_a_page_is_dark_where_the_browser_asks_for_it_and_light_on_paper(built: Path, browser: Any) -> None:
    shown = """([dark, light]) => document.body.dataset.jpThemeLight === light
      && (getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0] < 40) === dark"""
    with Watched(browser) as watched:
        screen = watched.page
        screen.emulate_media(color_scheme="dark")
        screen.goto((built / "student" / "01-tiny.html").as_uri())
        screen.wait_for_function(shown, arg=[True, "false"])
        screen.emulate_media(media="print")
        screen.wait_for_function(shown, arg=[False, "true"])
        screen.emulate_media(media="screen", color_scheme="light")
        screen.wait_for_function(shown, arg=[False, "true"])


@pytest.mark.browser
def test_on_paper_nothing_is_cut_and_no_page_is_left_half_empty(built: Path, browser: Any) -> None:
    wide = """() => [...document.querySelectorAll("pre, td, img, svg, .jp-OutputArea-output")]
      .filter((node) => node.getClientRects().length && node.scrollWidth > node.clientWidth + 1)
      .map((node) => node.textContent.slice(0, 60))"""
    with Watched(browser, width=700) as watched:
        screen = watched.page
        screen.goto((built / "student" / "03-paper.html").as_uri())
        screen.get_by_role("slider", name="step").first.wait_for()
        assert screen.evaluate(wide) != [], "on a narrow screen a long line scrolls"
        screen.emulate_media(media="print")
        assert screen.evaluate(wide) == []
        assert not screen.locator("details").evaluate("node => node.open"), "what is folded stays so"
        paper = screen.pdf(format="A4")
        # two widgets, each higher than half a page on a screen, and a few lines before them
        assert len(re.findall(rb"/Type\s*/Page\b", paper)) <= 2


@pytest.mark.browser
def test_all_pages_are_bound_to_a_book_with_page_numbers(built: Path, browser: Any, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "notebooks" / "site" / "book.py", built / "student", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told = re.search(r"book\.pdf: 4 parts, (\d+) pages", done.stdout)
    assert told is not None
    text = (tmp_path / "book.html").read_text(encoding="utf-8")
    found = re.findall(r'<li><a href="#([\w-]+)">[^<]+</a><span data-part="\1">(\d+)</span>', text)
    assert [name for name, _ in found] == ["01-tiny", "02-walk", "03-paper", "glossary"]
    starts = [int(number) for _, number in found]
    assert starts[0] == 2
    assert starts[2] - starts[1] >= 5, "the second has two hundred lines"
    assert starts == sorted(set(starts))
    assert starts[-1] == int(told[1]), "the glossary is the last page"
    assert 'href="#02-walk">the other</a>' in text
    assert "<summary>" not in text.partition("<main>")[2].partition("<script")[0], (
        "nothing is folded on paper"
    )
    assert "The answer: number 1 at the end of this lesson." in text
    assert "What you could guess" in text
    assert b"/Outlines" in (tmp_path / "book.pdf").read_bytes()


def test_a_page_loads_nothing_from_elsewhere() -> None:
    def written(*cells: dict[str, Any]) -> str:
        return page(nbformat.from_dict(notebook(*cells)), "a")

    plain = written(prose("# A & B\n\ntext"), code("x = 1", prints="1"))
    assert "<title>A &amp; B</title>" in plain
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//", plain) == []
    assert "mathjax" not in plain.lower()
    table = written(prose("| | a |\n|---|:--|\n| b | 1 |"))
    assert "<td></td>" in table
    assert not re.search(r"<th[^>]*></th>", table)


def test_the_list_of_pages_is_escaped() -> None:
    text = index("<Lessons>", [('a".html', "<b>")])
    assert "&lt;Lessons&gt;" in text
    assert '<a href="a&quot;.html">&lt;b&gt;</a>' in text


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main([str(tmp_path / "gone.ipynb")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "no notebooks to build handouts from"
    assert lines[1].endswith("gone.ipynb: no such notebook")
    assert len(lines) == 2


def test_a_kernel_that_does_not_start_has_a_second_try_and_then_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from jupyter_client.asynchronous import AsyncKernelClient

    path = save(tmp_path / "one.ipynb", notebook(code("1 + 1")))
    ready, tries = AsyncKernelClient._async_wait_for_ready, list[float]()

    async def late(client: Any, timeout: float | None = None) -> None:
        tries.append(timeout or 0)
        if len(tries) in late_at:
            raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")
        await ready(client, timeout)

    monkeypatch.setattr(AsyncKernelClient, "wait_for_ready", late)
    late_at = {1}
    cell = execute.execute(path)["cells"][0]
    assert (len(tries), cell["outputs"][0]["data"]["text/plain"]) == (2, "2")
    late_at = {3, 4}
    with pytest.raises(
        execute.NotebookFailed, match=r"^one.ipynb: Kernel didn't respond in 120 seconds \(twice\)$"
    ):
        execute.execute(path)
    assert "one.ipynb: Kernel didn't respond in 120 seconds; trying once more" in capsys.readouterr().err
