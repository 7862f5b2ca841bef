"""The lock-order graph: which edges there are, which make a circle, and a layout in which nothing
lies on anything else.
"""

from __future__ import annotations

import html
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.views.timeline_runs import driver_run
from vtdkit.kernel.checkers.lockdep.keys import EXCLUSIVE, READ, RECURSIVE
from vtdkit.kernel.checkers.lockdep.validator import Dependency
from vtdkit.kernel.machine.machine import Machine
from vtdkit.views.charts.lockgraph import folded, lock_order_figure, outer_first
from vtdkit.views.charts.lockgraph_order import LockOrder, lock_order
from vtdkit.views.charts.spread import spread


def nested(*orders: tuple[str, ...]) -> Machine:
    """A machine on which each order of locks was taken once, one inside the other."""
    machine = Machine(cpus=1)
    locks = {name: machine.spinlock(name) for order in orders for name in order}

    async def take(names: tuple[str, ...]) -> None:
        if names:
            async with locks[names[0]]:
                await take(names[1:])

    for order in orders:
        machine.run(take(order))
    return machine


def pairs(order: LockOrder, circle: bool | None = None) -> set[tuple[str, str]]:
    return {(edge.prev, edge.next) for edge in order.edges if circle is None or edge.circle is circle}


def test_an_edge_says_what_was_taken_under_what_and_where() -> None:
    order = lock_order(nested(("a", "b", "c")))
    assert pairs(order) == {("a", "b"), ("b", "c")}
    assert order.locks == ("a", "b", "c")
    assert {edge.taken_at for edge in order.edges} == {"take"}  # no line: a figure is kept in a notebook
    assert order.circles == ()


def test_opposite_orders_are_a_circle() -> None:
    order = lock_order(nested(("outer", "a", "b"), ("b", "a", "leaf")))
    assert pairs(order, circle=True) == {("a", "b"), ("b", "a")}
    assert order.circles == (("a", "b", "a"),)


def test_a_circle_through_three_locks_is_spelled_out() -> None:
    machine = nested(("a", "b"), ("b", "c"), ("c", "a"))
    assert lock_order(machine).circles == (("a", "b", "c", "a"),)
    text = " ".join(texts(lock_order_figure(machine).svg))
    assert "◆ Circle: a → b → c → a. Each thread can hold one and wait for the next: deadlock." in text


def test_machine_validator_and_records_say_the_same() -> None:
    machine, *_ = driver_run(0)
    order, lockdep = lock_order(machine), machine.check.lockdep
    assert lockdep is not None
    assert ("device_domain_lock", "&iommu->lock") in pairs(order)
    assert order.circles == ()
    assert lock_order(lockdep) == order
    assert lock_order(lockdep.edges()) == order
    assert lock_order_figure(lockdep.edges()).svg == lock_order_figure(machine).svg


def test_records_of_a_circle_are_one() -> None:
    records = [link("a", "b", "EN"), link("b", "c", "EN"), link("c", "a", "EN")]
    assert lock_order(iter(records)).circles == (("a", "b", "c", "a"),)
    assert "a → b → c → a" in " ".join(texts(lock_order_figure(records).svg))


def link(prev: str, after: str, *kinds: str) -> Dependency:
    return Dependency(prev, after, kinds, "f", "g")


@pytest.mark.parametrize(
    ("kind", "circle"),
    [("EN", True), ("SN", True), ("ER", True), ("SR", False)],
)
def test_records_make_a_circle_only_if_it_can_block(kind: str, circle: bool) -> None:
    order = lock_order([link("a", "b", kind), link("b", "a", kind)])
    assert bool(order.circles) is circle
    assert any(edge.circle for edge in order.edges) is circle


def test_the_first_patch_takes_device_domain_lock_out_of_the_dump() -> None:
    """klist_next takes k_lock while the list of the bus is walked, which the
    dump did under device_domain_lock.
    """
    before, after = (pairs(lock_order(driver_run(version)[0])) for version in (0, 1))
    assert ("device_domain_lock", "&k->k_lock") in before - after


@pytest.mark.parametrize(
    ("held", "taken", "circle"),
    [(EXCLUSIVE, READ, True), (READ, READ, True), (EXCLUSIVE, RECURSIVE, True), (READ, RECURSIVE, False)],
)
def test_a_circle_counts_only_if_it_can_block(held: int, taken: int, circle: bool) -> None:
    """Recursive readers that meet readers pass."""
    machine = Machine(cpus=1)
    lockdep = machine.check.lockdep
    assert lockdep is not None
    classes = [lockdep.lock_class(name, kind="rwlock") for name in "ab"]
    for one, other in (classes, classes[::-1]):
        chain = lockdep.acquire(lockdep.root("task"), 0, one.key(held), "f")
        lockdep.acquire(chain, 0, other.key(taken), "g")
    order = lock_order(machine)
    assert bool(order.circles) is circle
    assert any(edge.circle for edge in order.edges) is circle


def test_around_keeps_the_edges_of_one_lock_and_circles() -> None:
    machine = nested(("a", "b", "c"), ("x", "y"), ("y", "x"))
    assert pairs(lock_order(machine, around="a")) == {("a", "b"), ("x", "y"), ("y", "x")}
    with pytest.raises(ValueError, match=r"no lock 'z' .* a, b, c, x, y"):
        lock_order(machine, around="z")


def test_a_machine_without_the_validator_is_refused() -> None:
    with pytest.raises(ValueError, match="no lock validator"):
        lock_order(Machine(cpus=1, checkers=()))


# -- the figure ---------------------------------------------------------------


def texts(svg: str) -> list[str]:
    """Every text, a bold beginning with the rest of its line."""
    found = re.findall(r"<text[^>]*>(?:<tspan[^>]*>([^<]*)</tspan>)?([^<]*)", svg)
    return [html.unescape(bold + plain) for bold, plain in found]


@pytest.mark.parametrize("version", [0, 12])
def test_the_locks_of_the_driver_stand_beside_each_other_outer_ones_first(version: int) -> None:
    machine = driver_run(version)[0]
    order, svg = lock_order(machine), lock_order_figure(machine).svg
    boxes = [tuple(map(float, box)) for box in re.findall(r'<rect x="([\d.]+)" y="1" width="([\d.]+)"', svg)]
    assert len(boxes) == len(order.locks) > 4
    assert all(x + across <= other for (x, across), (other, _) in pairwise(boxes))
    assert boxes[-1][0] + boxes[-1][1] < 860
    places = [edge.taken_at for edge in order.edges]
    assert [text for text in texts(svg) if text in places] == places


NAMES = st.sampled_from("abcdefg")


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.tuples(NAMES, NAMES).filter(lambda pair: pair[0] != pair[1]), min_size=1, max_size=14, unique=True
    )
)
def test_arrows_lead_right_except_round_a_circle_and_join_the_right_locks(
    edges: list[tuple[str, str]],
) -> None:
    machine = nested(*edges)
    order = lock_order(machine)
    places = outer_first(order)
    assert sorted(places) == sorted(order.locks)
    assert bool(order.circles) is any(edge.circle for edge in order.edges)
    svg = lock_order_figure(machine).svg
    lines = {
        name: float(x) for name, x in zip(places, re.findall(r'd="M([\d.]+) \d+V\d+"', svg), strict=True)
    }
    heads = [float(x) for x in re.findall(r'd="M([\d.]+) 23l', svg)]
    tails = [float(x) for x in re.findall(r'd="M([\d.]+) 23H', svg)]
    assert [(lines[edge.prev], lines[edge.next]) for edge in order.edges] == list(
        zip(tails, heads, strict=True)
    )
    for edge in order.edges:
        assert edge.circle or places.index(edge.prev) < places.index(edge.next)


def test_a_name_is_broken_after_a_sign() -> None:
    assert folded("device_domain_lock", 90) == ["device_", "domain_lock"]
    assert folded("&iommu->lock", 300) == ["&iommu->lock"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12), st.floats(1, 30))
def test_spread_keeps_the_order_and_the_distance(wanted: list[float], size: float) -> None:
    placed = spread(wanted, size)
    assert all(other - one >= size - 1e-6 for one, other in pairwise(placed))
    assert sum(placed) == pytest.approx(sum(wanted), abs=1e-6)


def test_spread_leaves_alone_what_has_room() -> None:
    assert spread([0.0, 50.0, 51.0], 10.0) == [0.0, 45.5, 55.5]


def test_the_figure_names_locks_places_and_the_circle_in_words() -> None:
    figure = lock_order_figure(nested(("a", "b"), ("b", "a")), title="Two locks")
    shown = texts(figure.svg)
    assert {"Two locks", "a", "b"} <= set(shown)
    assert shown.count("◆ take") == 2
    assert any(text.startswith("◆ Circle: ") for text in shown)
    assert figure.label.startswith("Two locks: b under a in take;")
    assert figure.label.endswith("circle a to b to a.")


def test_a_circle_has_a_second_sign_besides_its_colour() -> None:
    svg = lock_order_figure(nested(("c", "d"), ("a", "b"), ("b", "a"))).svg
    assert svg.count('stroke-dasharray="7 4"') == 2
    assert texts(svg).count("◆ take") == 2
    assert texts(svg).count("take") == 1


def test_without_edges_the_figure_says_so() -> None:
    assert texts(lock_order_figure(nested(("a",))).svg) == ["No lock was taken while another was held."]
