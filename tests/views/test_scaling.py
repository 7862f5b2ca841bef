"""The scaling figure: lines from measurements, the ideal, ticks, and names at the ends."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from vtdkit.views.charts.paper import spoken
from vtdkit.views.charts.scaling import ScalingPoint, scaling_figure
from vtdkit.views.charts.scaling_lines import doublings, ideal, rate_text, scaling_lines

POINTS = [
    ScalingPoint(0, 4, 700_000.0, 0.55),
    ScalingPoint(0, 1, 400_000.0),
    ScalingPoint(0, 2, 600_000.0, 0.3),
    ScalingPoint(12, 1, 500_000.0),
    ScalingPoint(12, 2, 990_000.0, 0.01),
    ScalingPoint(12, 4, 1_900_000.0, 0.02),
]


def test_each_version_is_a_line_by_cpus() -> None:
    before, after = scaling_lines(POINTS, {0: "before"})
    assert (before.name, before.cpus, before.rates, before.waits) == (
        "before",
        (1, 2, 4),
        (4e5, 6e5, 7e5),
        (0.0, 0.3, 0.55),
    )
    assert after.name == "12"


def test_the_ideal_is_the_best_single_cpu_times_their_number() -> None:
    assert ideal(scaling_lines(POINTS))(4) == 2_000_000


def test_without_a_single_cpu_the_ideal_starts_at_the_fewest() -> None:
    assert (
        ideal(
            scaling_lines(
                [ScalingPoint("x", 2, 10.0), ScalingPoint("x", 8, 20.0), ScalingPoint("y", 4, 99.0)]
            )
        )(8)
        == 40
    )


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        ([], "no measurements"),
        ([ScalingPoint(0, 0, 1.0)], "version 0 was measured with 0 CPUs"),
        ([ScalingPoint(0, 1, 0.0)], r"0\.0 a second is no throughput"),
        ([ScalingPoint(0, 1, float("nan"))], "nan a second is no throughput"),
        ([ScalingPoint(0, 1, 1.0, 1.5)], r"0 to 1, not 1\.5"),
        ([ScalingPoint(0, 1, 1.0), ScalingPoint(0, 1, 2.0)], "two measurements with 1 CPUs"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_the_reason(points: list[ScalingPoint], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        scaling_lines(points)


@pytest.mark.parametrize(
    ("rate", "text"), [(2.5e6, "2.5 million"), (4e5, "400 thousand"), (12.0, "12"), (3e9, "3 billion")]
)
def test_rates_in_words(rate: float, text: str) -> None:
    assert rate_text(rate) == text


def test_ticks_double() -> None:
    assert doublings(390_000, 3_000_000) == [200_000, 400_000, 800_000, 1_600_000]


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-3, 1e12), st.floats(1, 1e6))
def test_ticks_begin_at_or_below_the_lowest_and_are_few(low: float, times: float) -> None:
    ticks = doublings(low, low * times)
    assert ticks[0] <= low * (1 + 1e-9)
    assert ticks[-1] <= low * times * (1 + 1e-9)
    assert len(ticks) <= 9
    factors = {round(other / one, 6) for one, other in pairwise(ticks)}
    assert len(factors) <= 1
    assert all(factor.is_integer() and int(factor) & (int(factor) - 1) == 0 for factor in factors)


def shown(ax: Any) -> dict[str, Any]:
    return {text.get_text(): text for text in ax.texts}


def test_the_figure_has_names_at_the_ends_and_no_legend() -> None:
    figure = scaling_figure(POINTS, names={0: "before", 12: "after"}, what="unmaps", title="T")
    left, right = figure.axes
    assert {"before", "after", "ideal: each CPU as fast as one alone"} == set(shown(left))
    assert {"before", "after"} == set(shown(right))
    assert left.get_legend() is None
    assert left.get_title(loc="left") == "unmaps per second"
    assert [label.get_text() for label in left.get_xticklabels()] == ["1", "2", "4"]


def test_names_of_lines_that_end_together_do_not_overlap() -> None:
    points = [ScalingPoint(f"version {i}", cpus, 1000.0 + i) for i in range(5) for cpus in (1, 2)]
    figure = scaling_figure(points)
    figure.canvas.draw()
    for ax in figure.axes:
        boxes = [
            Text.get_window_extent(text) for name, text in shown(ax).items() if name.startswith("version")
        ]
        assert len(boxes) == 5
        assert all(low.y1 <= high.y0 for low, high in pairwise(sorted(boxes, key=lambda box: box.y0)))


def test_one_measurement_alone_can_be_drawn() -> None:
    assert len(scaling_figure([ScalingPoint("x", 1, 5.0)]).axes) == 2


def test_a_figure_shows_itself_in_a_notebook_and_is_small_enough_to_save() -> None:
    figure = scaling_figure(POINTS, title="T")
    picture = figure.png()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 60_000
    shown = figure._repr_mimebundle_()
    assert shown["text/html"].startswith('<img src="data:image/png;base64,iVBOR')
    assert shown["text/html"].endswith('"/>')
    assert spoken(figure) == (
        "T: operations per second. 0: 400 thousand with 1 CPUs, 700 thousand with 4, where 55% of the time "
        "is waiting; 12: 500 thousand with 1 CPUs, 1.9 million with 4, where 2% of the time is waiting."
    )
    assert shown["text/plain"] == repr(figure) == "<Figure size 900x390 with 2 Axes>"
