"""A tiny widget notebook: a step control and a picture, moved in the browser alone. The harness and the
handouts are tried on it.
"""

from __future__ import annotations

from typing import Any

from tests.notebooks.made import code, notebook, prose

WIDGET = '''\
import anywidget, traitlets
class Boxes(anywidget.AnyWidget):
    _esm = """
    function render({ model, el }) {
      const root = document.createElement("div");
      root.tabIndex = 0; root.setAttribute("role", "slider"); root.setAttribute("aria-label", "step");
      const draw = () => {
        const step = model.get("step");
        root.setAttribute("aria-valuenow", step);
        root.textContent = model.get("frames")[step];
      };
      root.addEventListener("keydown", (event) => {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!by) return;
        event.preventDefault();
        const last = model.get("frames").length - 1;
        model.set("step", Math.max(0, Math.min(last, model.get("step") + by)));
        model.save_changes();
      });
      model.on("change:step", draw); draw(); el.appendChild(root);
    }
    export default { render };"""
    frames = traitlets.List().tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    def __repr__(self): return "Boxes()"'''


def tiny_notebook() -> dict[str, Any]:
    """Three sections: prose, the widget, an exercise with its solution folded."""
    stub = "def answer():\n    raise NotImplementedError\nanswer()"
    return notebook(
        prose("# A tiny lesson\n\nOne widget. Arrow keys move it."),
        code(WIDGET),
        prose("## See it move\n\nPress the right arrow key."),
        code('boxes = Boxes(frames=[f"picture {n}" for n in range(5)])\nboxes'),
        code("from ipywidgets import IntSlider\nIntSlider(max=4, description='unnamed')"),
        prose("## Exercise\n\nReturn six times seven."),
        code(stub, tags=("raises-exception",)),
        code(
            "# Solution\ndef answer():\n    return 42\nprint('it is', answer())",
            tags=("solution",),
            hidden=True,
        ),
        prose("## The end\n\nOne table."),
    )
