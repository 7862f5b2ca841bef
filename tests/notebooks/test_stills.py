"""What a reader sees who only opens a notebook: each widget's still, as a picture, also
where nothing is trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.test_steps import dump_unmap
from tests.notebooks.labdriver import LabPage
from tests.notebooks.made import code, notebook, save
from tests.views.test_pagetables import pair
from tests.views.timeline_runs import contended
from vtdkit.lab.handouts.tidy import WIDGET_VIEW
from vtdkit.series.catalogue import SERIES
from vtdkit.views.bits.widget import BitFieldCard
from vtdkit.views.patch.widget import PatchView
from vtdkit.views.shared.base import MOVE, Widget
from vtdkit.views.stepper.widget import Stepper
from vtdkit.views.timeline.widget import LockTimeline

Open = Callable[..., LabPage]
WIDGETS: tuple[Callable[[], Widget], ...] = (
    lambda: LockTimeline(contended(), cursor=400),
    lambda: Stepper(dump_unmap(), step=8),
    lambda: PatchView(SERIES[1]),
    lambda: BitFieldCard("SS-PTE", 0x1234003),
    pair,
)


@pytest.mark.browser
@pytest.mark.parametrize("viewed", [True, False], ids=["as JupyterLab saves it", "as the project saves it"])
def test_a_notebook_that_nobody_trusts_shows_pictures(tmp_path: Path, open_lab: Open, viewed: bool) -> None:
    cells = []
    for number, make in enumerate(WIDGETS):
        data = make()._repr_mimebundle_()[0]
        if not viewed:
            del data[WIDGET_VIEW]
        cells.append(code(f"widget{number}"))
        output = {
            "output_type": "execute_result",
            "execution_count": number + 1,
            "data": data,
            "metadata": {},
        }
        cells[-1]["outputs"] = [output]
    save(tmp_path / "clone.ipynb", notebook(*cells))
    assert (tmp_path / "clone.ipynb").stat().st_size < 200_000
    page = open_lab(tmp_path, "clone.ipynb")
    outputs = page.panel.locator(".jp-OutputArea-output")
    assert outputs.count() == len(WIDGETS)
    for output, make in zip(outputs.all(), WIDGETS, strict=True):
        image = output.get_by_role("img")
        assert image.get_attribute("alt") == make().still().label
        assert image.evaluate("node => node.complete && node.naturalWidth") == make().still().width
        assert output.inner_text().strip() == MOVE
    assert (page.outside, page.page_errors) == ([], [])
