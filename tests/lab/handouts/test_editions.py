"""What an edition holds, and what a run leaves behind that it must not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.notebooks.made import code, notebook, prose
from tests.notebooks.plain import drop_widget_models
from vtdkit.lab.handouts.editions import relink, student, title
from vtdkit.lab.handouts.tidy import (
    WIDGET_STATE,
    WIDGET_VIEW,
    keep_shown_widgets,
    shorten_tracebacks,
)


def shows(model: str, **options: Any) -> dict[str, Any]:
    cell = code("widget", **options)
    data = {WIDGET_VIEW: {"model_id": model}, "text/plain": "W()"}
    cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": data}]
    return cell


def with_state(content: dict[str, Any], **models: tuple[str, list[str]]) -> dict[str, Any]:
    state = {
        model: {"model_name": name, "state": {"children": [f"IPY_MODEL_{other}" for other in others]}}
        for model, (name, others) in models.items()
    }
    content["metadata"]["widgets"] = {WIDGET_STATE: {"version_major": 2, "version_minor": 0, "state": state}}
    return content


def kept(content: dict[str, Any]) -> list[str]:
    return sorted(content["metadata"]["widgets"][WIDGET_STATE]["state"])


def test_the_student_edition_leaves_solutions_out_and_the_original_as_it_was() -> None:
    full = notebook(prose("text"), code("solve()", tags=("solution",), hidden=True))
    assert [cell["source"] for cell in student(full)["cells"]] == ["text"]
    assert len(full["cells"]) == 2


def test_only_widgets_that_are_shown_are_kept_and_what_they_are_made_of() -> None:
    content = notebook(shows("a1"), code("x", tags=("solution",)))
    content = with_state(
        content, a1=("Box", ["b2"]), b2=("IntSlider", ["c3"]), c3=("Layout", []), d4=("Any", [])
    )
    keep_shown_widgets(content)
    assert kept(content) == ["a1", "b2", "c3"]


def test_a_link_is_kept_with_the_two_widgets_it_joins_and_not_without() -> None:
    content = notebook(shows("a1"), shows("b2"))
    content = with_state(
        content,
        a1=("S", []),
        b2=("V", []),
        c3=("V", []),
        e5=("LinkModel", ["a1", "b2"]),
        f6=("DirectionalLinkModel", ["a1", "c3"]),
    )
    keep_shown_widgets(content)
    assert kept(content) == ["a1", "b2", "e5"]


def test_the_widget_of_a_solution_does_not_stay_behind_in_the_student_edition() -> None:
    content = with_state(notebook(shows("a1"), shows("b2", tags=("solution",))), a1=("V", []), b2=("V", []))
    chosen = student(content)
    keep_shown_widgets(chosen)
    assert kept(chosen) == ["a1"]
    none_left = with_state(student(notebook(shows("b2", tags=("solution",)))), b2=("V", []))
    keep_shown_widgets(none_left)
    assert "widgets" not in none_left["metadata"]


def test_knobs_are_left_out_of_a_page_and_their_line_stays() -> None:
    knobs = shows("a1", tags=("what-if",))
    knobs["outputs"][0]["data"]["text/html"] = "<p>They need a kernel</p>"
    content = with_state(notebook(knobs, shows("b2")), a1=("Dropdown", []), b2=("V", []))
    keep_shown_widgets(content)
    assert kept(content) == ["b2"]
    assert "They need a kernel" in content["cells"][0]["outputs"][0]["data"]["text/html"]


def test_a_saved_notebook_has_no_models_and_short_tracebacks() -> None:
    content = with_state(notebook(shows("a1")), a1=("V", []))
    error = {
        "output_type": "error",
        "ename": "ValueError",
        "evalue": "no",
        "traceback": ["File /x/y.py", "…"],
    }
    content["cells"][0]["outputs"].append(error)
    drop_widget_models(content)
    shorten_tracebacks(content)
    assert [output.get("data", output.get("traceback")) for output in content["cells"][0]["outputs"]] == [
        {"text/plain": "W()"},
        ["ValueError: no"],
    ]
    assert "widgets" not in content["metadata"]


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[next](02-next.ipynb)", "[next](02-next.html)"),
        ("[there](02-next.ipynb#The-lock)", "[there](02-next.html#The-lock)"),
        ("[word](glossary.md#iova)", "[word](glossary.html#iova)"),
        ("[below](#The-lock)", "[below](#The-lock)"),
        ("[mail](https://example.org/a.md)", "[mail](https://example.org/a.md)"),
        ("[code](../vtdkit/series/p01.py)", "code (`vtdkit/series/p01.py`)"),
        ("![picture](there.png)", "![picture](there.png)"),
    ],
)
def test_links_lead_to_built_pages_or_become_text(link: str, expected: str) -> None:
    content = notebook(prose(f"see {link}."))
    relink(content, {"02-next.ipynb", "glossary.md"})
    assert content["cells"][0]["source"] == f"see {expected}."


def test_the_title_is_the_first_heading() -> None:
    assert title(notebook(prose("intro"), prose("# The `lock`\n\ntext")), "x") == "The lock"
    assert title(notebook(prose("intro")), "01-lock") == "01-lock"


def test_the_state_is_plain_json_afterwards() -> None:
    content = with_state(notebook(shows("a1")), a1=("V", []))
    keep_shown_widgets(content)
    assert json.loads(json.dumps(content)) == content
