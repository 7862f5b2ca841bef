"""The scaling figure: lines from measurements, the ideal, ticks, and names at the ends."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vtdkit.lab.scaling import ScalingPoint
from vtdkit.views.charts.scaling import scaling_figure
from vtdkit.views.charts.scaling_lines import doublings, ideal, rate_text, scaling_lines


def point(version: Any, cpus: int, rate: float, waiting: float = 0.0) -> ScalingPoint:
    return ScalingPoint(version, cpus, rate, waiting, 0.0, ())


POINTS = [
    point(0, 4, 700_000.0, 0.55),
    point(0, 1, 400_000.0),
    point(0, 2, 600_000.0, 0.3),
    point(12, 1, 500_000.0),
    point(12, 2, 990_000.0, 0.01),
    point(12, 4, 1_900_000.0, 0.02),
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
    assert ideal(scaling_lines([point("x", 2, 10.0), point("x", 8, 20.0), point("y", 4, 99.0)]))(8) == 40


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        ([], "no measurements"),
        ([point(0, 1, 1.0), point(0, 1, 2.0)], "two measurements with 1 CPUs"),
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


def texts(svg: str) -> list[tuple[float, float, str]]:
    """Every text with its place."""
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*>(?:<tspan[^>]*>)?([^<]*)', svg)
    return [(float(x), float(y), text) for x, y, text in found]


def test_the_figure_has_names_at_the_ends_of_both_charts() -> None:
    svg = scaling_figure(POINTS, names={0: "before", 12: "after"}, what="unmaps", title="T").svg
    said = [text for *_, text in texts(svg)]
    assert said[0] == "T"
    assert "unmaps per second" in said
    assert "ideal: each CPU as fast as one alone" in said
    for name in ("before", "after"):
        assert said.count(name) == 2
    for tick in ("1", "2", "4", "400 thousand", "75 %"):
        assert tick in said
    wide = {x for x, _, text in texts(svg) if text == "before"}
    assert min(wide) < 430 < max(wide)


def test_lines_stand_where_their_values_are() -> None:
    """One doubling of the rate is as high as any other, and the better line is above."""
    svg = scaling_figure([point("x", cpus, 100_000.0 * cpus) for cpus in (1, 2, 4)]).svg
    line = next(d for d in re.findall(r'<path d="(M[^"]*)"[^>]*stroke-width="2"', svg))
    places = [tuple(map(float, pair.split())) for pair in line[1:].split("L")]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert (x1 - x0, y1 - y0) == (pytest.approx(x2 - x1, abs=0.2), pytest.approx(y2 - y1, abs=0.2))
    assert y0 > y1 > y2


def test_names_of_lines_that_end_together_do_not_overlap() -> None:
    points = [point(f"version {i}", cpus, 1000.0 + i) for i in range(5) for cpus in (1, 2)]
    found = [(x, y) for x, y, text in texts(scaling_figure(points).svg) if text.startswith("version")]
    for side in (True, False):
        levels = sorted(y for x, y in found if (x < 430) is side)
        assert len(levels) == 5
        assert all(other - one >= 14.9 for one, other in pairwise(levels))


def test_each_line_has_a_marker_of_its_own() -> None:
    points = [point(f"version {i}", cpus, 1000.0 * (i + 1)) for i in range(7) for cpus in (1, 2)]
    marks = re.findall(r'd="M[\d.]+ [\d.]+(m[^M"]*)', scaling_figure(points).svg)
    assert len(set(marks)) == 7


def test_one_measurement_alone_can_be_drawn() -> None:
    assert "x: 5 with 1 CPUs" in scaling_figure([point("x", 1, 5.0)]).svg


def test_the_figure_is_told_to_whoever_cannot_see_it_and_is_small() -> None:
    figure = scaling_figure(POINTS, title="T")
    assert len(figure.svg) < 8000
    assert figure.label == (
        "T: operations per second. 0: 400 thousand with 1 CPUs, 700 thousand with 4, where 55% of the time "
        "is waiting; 12: 500 thousand with 1 CPUs, 1.9 million with 4, where 2% of the time is waiting."
    )
