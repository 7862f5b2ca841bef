"""The rules for notebooks, on notebooks made up to break one each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks.made import code, notebook, prose, save
from tests.notebooks.nbchecks import anchors, links, problems
from vtdkit.lab.handouts.tidy import WIDGET_VIEW

TEN_WORDS = "one two three four five six seven eight nine ten"


def found(tmp_path: Path, *cells: dict[str, Any], **metadata: Any) -> list[str]:
    return [
        line.removeprefix("a.ipynb: ")
        for line in problems(save(tmp_path / "a.ipynb", notebook(*cells, **metadata)))
    ]


def with_output(output: dict[str, Any], **options: Any) -> dict[str, Any]:
    cell = code("f()", **options)
    cell["outputs"] = [output]
    return cell


ERROR = {
    "output_type": "error",
    "ename": "NotImplementedError",
    "evalue": "",
    "traceback": ["NotImplementedError"],
}


def test_a_notebook_that_keeps_the_rules_has_no_problems(tmp_path: Path) -> None:
    cells = [
        prose(TEN_WORDS),
        code("print(1)", prints="1\n"),
        prose(TEN_WORDS),
        with_output(ERROR, tags=("raises-exception",)),
    ]
    assert found(tmp_path, *cells, code("# Solution\nx = 1", tags=("solution",), hidden=True)) == []


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (with_output(ERROR), "cell 2: ends in NotImplementedError and is not tagged raises-exception"),
        (code("f()", tags=("raises-exception",)), "cell 2: tagged raises-exception, but raises none"),
        (
            with_output({"output_type": "stream", "name": "stderr", "text": "beware"}),
            "cell 2: prints to stderr (a warning?)",
        ),
        (
            code("f()", prints="at f (vtdkit/iommu/core.py:218)"),
            "cell 2: quotes a line number: vtdkit/iommu/core.py:218; print(report(...)) leaves it out",
        ),
        (code("# solution: add\nf()", prints=""), "cell 2: begins as a solution and is not tagged solution"),
        (
            code("f()", tags=("solution",)),
            "cell 2: a solution whose source is not hidden (metadata: jupyter.source_hidden)",
        ),
        (code("f()", hidden=True), "cell 2: hides its source and is not tagged solution"),
        (code("f()  # TODO"), "cell 2: has a note to oneself (TODO, FIXME)"),
        (code("where = '/home/me/x'"), 'cell 2: names a path of one machine: "/home/me/x\'"'),
        (
            code("f()", prints="<object at 0x7f0012345678>"),
            "cell 2: shows a default repr: <object at 0x7f0012345678>",
        ),
        (prose("see [there](02-gone.ipynb)"), "cell 2: links to '02-gone.ipynb', which does not exist"),
        (prose("see [below](#Gone)"), "cell 2: links to '#Gone'; there is no such heading in a.ipynb"),
        (prose("![x](attachment:x.png)"), "cell 2: no attachment 'attachment:x.png'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_rule_is_named_with_its_cell(tmp_path: Path, cell: dict[str, Any], expected: str) -> None:
    assert expected in found(tmp_path, prose(TEN_WORDS), cell, code("print(1)", prints="1"), prose(TEN_WORDS))


def test_only_one_rule_is_broken_by_a_widget_model_left_in_the_output(tmp_path: Path) -> None:
    bundle = {
        WIDGET_VIEW: {"model_id": "ab", "version_major": 2, "version_minor": 0},
        "text/plain": "Explorer(step 1)",
    }
    cell = with_output({"output_type": "display_data", "data": bundle, "metadata": {}})
    (only,) = found(tmp_path, prose(TEN_WORDS), cell)
    assert only.startswith("cell 2: saved with a widget model")


def test_lengths_and_proportions(tmp_path: Path) -> None:
    long = code("\n".join(["x = 1"] * 26), prints="")
    assert found(tmp_path, prose(" ".join(["word"] * 260)), long) == [
        "cell 2: 26 lines of code; at most 25 (the rest belongs in the package)",
        "code cells have a median of 26 lines; at most 4",
    ]
    assert found(tmp_path, prose("few words"), code("x = 1", prints="")) == [
        "2 words for 1 lines of code are 2.0 a line; 8 to 20 read well"
    ]


def test_words_in_code_blocks_and_lines_of_solutions_do_not_count(tmp_path: Path) -> None:
    hidden = code("\n".join(["x = 1"] * 4), tags=("solution",), hidden=True)
    assert (
        found(
            tmp_path, prose(TEN_WORDS + "\n```\n" + TEN_WORDS * 3 + "\n```\n"), code("f()", prints=""), hidden
        )
        == []
    )


def test_it_must_have_run_in_order_and_be_saved_with_outputs(tmp_path: Path) -> None:
    skipped = code("f()")
    skipped["execution_count"] = None
    (first, second) = found(tmp_path, prose(TEN_WORDS), skipped)
    assert first == "cell 2: saved with count None, not 1; restart, run all, save"
    assert second == "saved without outputs"


def test_metadata_stays_plain(tmp_path: Path) -> None:
    assert found(tmp_path, prose("hello"), widgets={}) == [
        "metadata has 'widgets'; only kernelspec, language_info and title belong in a saved notebook"
    ]
    assert found(tmp_path, prose("hello"), kernelspec={"name": "conda-env-x", "display_name": "x"}) == [
        "kernelspec is 'conda-env-x'; it must be 'python3', which every installation has"
    ]


def test_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    path.write_bytes(b"{}\r")
    assert [line for line in problems(path) if "valid" not in line] == [
        "a.ipynb: has carriage returns; lines end with LF alone",
        "a.ipynb: the file does not end with a newline",
    ]
    path.write_bytes(b"no json\n")
    assert len(problems(path)) == 1
    assert "not a valid notebook" in problems(path)[0]
    big = problems(save(path, notebook(prose("word " * 100_000))))
    assert big[0].startswith("a.ipynb: 500,")


def test_links_are_found_outside_of_code_and_anchors_are_made_as_jupyter_makes_them(tmp_path: Path) -> None:
    text = 'see [a](b.md "t"), <img src="c.svg"> and `[no](link)`\n```\n[no](either)\n```\n[e](https://example.org)'
    assert links(text) == ["b.md", "c.svg", "https://example.org"]
    path = save(tmp_path / "a.ipynb", notebook(prose("## What the `lock` guards\n\ntext")))
    assert anchors(path) == {"What-the-lock-guards"}
    (tmp_path / "b.md").write_text("# What's new, here?\n", encoding="utf-8")
    assert anchors(tmp_path / "b.md") == {"whats-new-here"}


def test_knobs_are_tagged_and_say_that_they_need_a_kernel(tmp_path: Path) -> None:
    line = {"output_type": "display_data", "metadata": {}, "data": {"text/html": "They need a kernel"}}
    knobs = "what_if(show)"
    good = code(knobs, tags=("what-if",))
    good["outputs"] = [line]
    assert not [each for each in found(tmp_path, prose(TEN_WORDS), good) if "knobs" in each]
    untagged = {**code(knobs), "outputs": [line]}
    assert "cell 2: has knobs, and is not tagged what-if" in found(tmp_path, prose(TEN_WORDS), untagged)
    silent = found(tmp_path, prose(TEN_WORDS), code(knobs, prints="x", tags=("what-if",)))
    assert "cell 2: no line says that its knobs need a kernel; let what_if(...) come last" in silent
    other = found(tmp_path, prose(TEN_WORDS), code("1", prints="1", tags=("what-if",)))
    assert "cell 2: no knobs, and is tagged what-if" in other


def test_a_notebook_in_another_form_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ipynb", notebook(prose("one\ntwo")))
    form = "not in the form in which JupyterLab saves (python -m tests.notebooks.save writes it)"
    complaint = f"a.ipynb: {form}"
    assert complaint not in problems(path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=2), encoding="utf-8")
    assert complaint in problems(path)
