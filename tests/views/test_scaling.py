"""The scaling figure: lines from measurements, the ideal, ticks, and names at the ends."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.views.charts.chart import Chart, Text
from vtdkit.views.charts.scaling import TYPE, ScalingPoint, scaling_figure
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


def words(chart: Chart) -> list[Text]:
    return [shape for shape in chart.shapes if isinstance(shape, Text)]


def test_the_figure_has_names_at_the_ends_and_no_legend() -> None:
    chart = scaling_figure(POINTS, names={0: "before", 12: "after"}, what="unmaps", title="T")
    shown = [text.words for text in words(chart)]
    assert {shown.count(name) for name in ("before", "after")} == {2}
    assert {"T", "unmaps per second", "ideal: each CPU as fast as one alone", "25 %"} <= set(shown)
    ends = [text for text in words(chart) if text.words in ("before", "after")]
    assert all(0 < text.x < chart.width - 4 * len(text.words) for text in ends)


def test_names_of_lines_that_end_together_do_not_overlap() -> None:
    points = [ScalingPoint(f"version {i}", cpus, 1000.0 + i) for i in range(5) for cpus in (1, 2)]
    names = [text for text in words(scaling_figure(points)) if text.words.startswith("version")]
    assert len(names) == 10
    for panel in (names[:5], names[5:]):
        heights = sorted(text.y for text in panel)
        assert all(other - one >= TYPE for one, other in pairwise(heights))


def test_everything_stands_on_the_paper() -> None:
    chart = scaling_figure(POINTS, title="T")
    assert all(0 <= text.x <= chart.width and 5 <= text.y <= chart.height - 5 for text in words(chart))


def test_one_measurement_alone_can_be_drawn() -> None:
    assert "x" in [text.words for text in words(scaling_figure([ScalingPoint("x", 1, 5.0)]))]


def test_the_figure_is_told_to_whoever_cannot_see_it() -> None:
    assert scaling_figure(POINTS, title="T").label == (
        "T: operations per second. 0: 400 thousand with 1 CPUs, 700 thousand with 4, where 55% of the time "
        "is waiting; 12: 500 thousand with 1 CPUs, 1.9 million with 4, where 2% of the time is waiting."
    )
