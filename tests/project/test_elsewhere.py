"""Front ends that cannot be had here, VS Code and Colab: what they go by when they look for our widgets."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE = {"@jupyter-widgets/base", "@jupyter-widgets/controls", "@jupyter-widgets/output"}


def test_all_widgets_come_from_two_modules_that_every_front_end_knows() -> None:
    widgets = pytest.importorskip("ipywidgets")
    import vtdkit.views

    for name in vtdkit.views.__all__:
        getattr(vtdkit.views, name)

    def kinds(kind: type) -> list[type]:
        return [each for child in kind.__subclasses__() for each in (child, *kinds(child))]

    ours = [each for each in kinds(widgets.Widget) if each.__module__.startswith(("vtdkit.", "lessons."))]
    assert len(ours) >= 6
    for kind in ours:
        assert {kind._model_module.default_value, kind._view_module.default_value} <= BASE | {"anywidget"}


def test_vs_code_finds_anywidget_where_it_looks() -> None:
    """Its Jupyter extension reads which modules there are from the call `requirejs?.config`, or the like, of
    `nbextensions/*/extension.js` in the kernel's environment (baseIPyWidgetScriptManager.ts, November 2026).
    """
    folder = Path(sys.prefix) / "share/jupyter/nbextensions"
    script = (folder / "anywidget/extension.js").read_text(encoding="utf-8")
    told = re.search(r"require(?:js\?)?\.config\(\{\s*map:\s*\{\s*\"\*\":\s*(\{.*?\})", script, re.S)
    assert told is not None
    places = json.loads(re.sub(r"(\w+):", r'"\1":', re.sub(r",\s*}", "}", told[1])))
    assert places == {"anywidget": "nbextensions/anywidget/index"}
    assert (folder.parent / f"{places['anywidget']}.js").is_file()
