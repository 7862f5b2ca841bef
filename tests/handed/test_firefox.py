"""A handout in Firefox: its widgets are drawn, keys move them, its pictures are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.handed.building import handouts
from tests.handed.firefox import Firefox, why_no_firefox
from tests.notebooks.labdriver import ROOT

pytestmark = pytest.mark.browser
LESSONS = [ROOT / "notebooks" / f"{name}.ipynb" for name in ("00-start-here", "01-the-debugfs-dump")]
SLIDERS = "[...document.querySelectorAll('.vtd [role=slider]')].filter((each) => each.offsetWidth)"
CANVASES = SLIDERS.replace("[role=slider]", "canvas")
PAINTED = f"""{CANVASES}.map((canvas) => {{
  const {{ data }} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
}})"""
BROKEN = "[...document.images].filter((each) => !each.naturalWidth).map((each) => each.alt)"


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handouts(tmp_path_factory.mktemp("handouts"), LESSONS)


@pytest.fixture(scope="module")
def firefox() -> Iterator[Firefox]:
    if reason := why_no_firefox():
        pytest.skip(reason)
    with Firefox() as page:
        yield page


@pytest.mark.parametrize(
    ("lesson", "kinds"),
    [(LESSONS[0], {"explorer", "card", "timeline"}), (LESSONS[1], {"patch", "timeline", "stepper"})],
    ids=lambda each: getattr(each, "stem", None),
)
def test_widgets_are_drawn_and_move_by_keyboard(
    firefox: Firefox, student: Path, lesson: Path, kinds: set[str]
) -> None:
    firefox.open((student / f"{lesson.stem}.html").as_uri())
    firefox.wait(
        "document.querySelectorAll('.jp-OutputArea-output.jupyter-widgets').length"
        " === document.querySelectorAll('.jp-OutputArea-output.jupyter-widgets .vtd').length"
    )
    assert set(firefox.run("[...document.querySelectorAll('[data-kind]')].map(e => e.dataset.kind)")) == kinds
    for number in range(firefox.run(f"{SLIDERS}.length")):
        value = f"{SLIDERS}[{number}].ariaValueNow"
        firefox.run(f"{SLIDERS}[{number}].focus()")
        before = firefox.run(value)
        at_end = before == firefox.run(f"{SLIDERS}[{number}].ariaValueMax")
        firefox.press("ArrowLeft" if at_end else "ArrowRight")
        assert firefox.run(value) != before
        firefox.press("ArrowRight" if at_end else "ArrowLeft")
    painted = firefox.run(PAINTED)
    assert painted
    assert min(painted) > 2
    assert firefox.run(BROKEN) == []
    assert (firefox.errors, firefox.outside) == ([], [])
