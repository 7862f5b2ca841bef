"""Strong paths and usage characters, case by case."""

import pytest

from vtdkit.kernel.checkers.lockdep import usage
from vtdkit.kernel.checkers.lockdep.classes import LockClass
from vtdkit.kernel.checkers.lockdep.graph import KIND_NAMES, Path, add_edge, edge_kind, find
from vtdkit.kernel.checkers.lockdep.report import Report
from vtdkit.kernel.checkers.lockdep.validator import Lockdep


def graph(edges: str) -> dict[str, LockClass]:
    """`a-EN-b a-SR-c`: classes and edges; the places are the names of the classes."""
    lockdep = Lockdep(print)
    classes: dict[str, LockClass] = {}
    for edge in edges.split():
        prev, kind, next = edge.split("-")
        for name in (prev, next):
            classes.setdefault(name, lockdep.lock_class(name))
        add_edge(classes[prev], classes[next], KIND_NAMES.index(kind), f"{prev} held", f"{next} taken")
    return classes


def way(path: Path | None) -> str:
    return "none" if path is None else " ".join(f"{link.prev}-{link.kind}-{link.next}" for link in path.links)


@pytest.mark.parametrize(
    ("edges", "weak", "backward", "expected"),
    [
        ("a-EN-b b-EN-c", False, False, "a-EN-b b-EN-c"),
        ("a-ER-b b-SN-c", False, False, "none"),  # two readers of b pass each other
        ("a-ER-b b-EN-c", False, False, "a-ER-b b-EN-c"),
        ("a-EN-b b-SN-c", False, False, "a-EN-b b-SN-c"),
        ("a-SN-b b-EN-c", True, False, "none"),  # a was entered by a recursive reader
        ("a-EN-b b-EN-c", True, False, "a-EN-b b-EN-c"),
        ("a-EN-b b-ER-c", True, True, "none"),  # c is left by a reader
        ("a-EN-b b-EN-c", True, True, "a-EN-b b-EN-c"),
        ("a-ER-b b-SN-c", False, True, "none"),
        ("a-EN-b b-EN-c a-EN-c", False, False, "a-EN-c"),  # the shortest
        ("a-ER-b a-EN-d d-EN-b b-SN-c", False, False, "a-EN-d d-EN-b b-SN-c"),  # b is reached weakly first
        ("a-SR-c a-EN-b b-SN-c", True, False, "a-EN-b b-SN-c"),  # so is c, by an edge that may not be used
        ("a-SR-b a-EN-b b-SN-c", False, False, "a-EN-b b-SN-c"),  # one edge of two kinds
        ("a-EN-b b-EN-a", False, False, "none"),
    ],
)
def test_the_search_finds_the_shortest_path_without_a_gap(
    edges: str, weak: bool, backward: bool, expected: str
) -> None:
    classes = graph(edges + " x-EN-c")
    start, goal = (classes["c"], classes["a"]) if backward else (classes["a"], classes["c"])
    assert way(find(start, weak, lambda here, weak: here is goal, backward=backward)) == expected


def test_the_start_may_match_and_then_the_path_is_empty() -> None:
    classes = graph("a-EN-b")
    found = find(classes["a"], True, lambda here, weak: weak)
    assert found is not None
    assert (found.end, found.links) == (classes["a"], ())


def test_the_match_is_told_whether_the_path_is_weak_there() -> None:
    classes = graph("a-SR-b b-EN-c c-ER-d")
    seen = {}
    find(classes["a"], False, lambda here, weak: seen.update({here.name: weak}) or False)
    assert seen == {"a": False, "b": True, "c": False, "d": True}


def test_a_local_lock_is_gone_round_when_only_locks_count() -> None:
    classes = graph("a-EN-c")
    local = Lockdep(print).lock_class("l", kind="local_lock")
    local.id = 99
    add_edge(classes["a"], local, 3, "", "")
    assert way(find(classes["a"], False, lambda here, weak: here is local)) == "a-EN-l"
    assert find(classes["a"], False, lambda here, weak: here is local, locks_only=True) is None


def test_the_first_places_of_an_edge_stay_for_each_kind_apart() -> None:
    classes = graph("a-EN-b")
    for held_at, taken_at, kind in (("late", "later", 3), ("read", "then", 2), ("again", "again", 2)):
        add_edge(classes["a"], classes["b"], kind, held_at, taken_at)
    edge = classes["a"].after[classes["b"].id]
    assert edge is classes["b"].before[classes["a"].id]
    assert edge.places == {3: ("a held", "b taken"), 2: ("read", "then")}
    assert str(edge.link(0b0100)) == "a -> b: a taken at read, then b at then"


def test_edge_kinds_follow_from_how_both_locks_were_taken() -> None:
    assert [KIND_NAMES[edge_kind(prev, next)] for prev in (0, 1, 2) for next in (0, 1, 2)] == [
        *("EN", "EN", "ER"),
        *("SN", "SN", "SR"),
        *("SN", "SN", "SR"),
    ]


@pytest.mark.parametrize(
    ("bits", "characters"),
    [
        ((), "...."),
        (("IN-HARDIRQ-W",), "-..."),
        (("HARDIRQ-ON-W",), "+..."),
        (("IN-HARDIRQ-R", "HARDIRQ-ON-R"), ".?.."),
        (("IN-SOFTIRQ-W", "HARDIRQ-ON-W"), "+.-."),
        (("SOFTIRQ-ON-R", "USED", "USED-READ"), "...+"),
        (("IN-HARDIRQ-W", "IN-HARDIRQ-R", "IN-SOFTIRQ-W", "IN-SOFTIRQ-R"), "----"),
    ],
)
def test_usage_characters_are_hard_writer_hard_reader_soft_writer_soft_reader(
    bits: tuple[str, ...], characters: str
) -> None:
    assert usage.characters(sum(1 << usage.NAMES.index(bit) for bit in bits)) == characters


def test_a_bit_and_its_contrary_are_the_same_interrupts_inside_and_on() -> None:
    contraries = {
        name: [usage.NAMES[n] for n in range(8) if usage.opposites(bit) >> n & 1]
        for bit, name in enumerate(usage.NAMES[:8])
    }
    assert contraries["IN-HARDIRQ-R"] == contraries["IN-HARDIRQ-W"] == ["HARDIRQ-ON-W", "HARDIRQ-ON-R"]
    assert contraries["SOFTIRQ-ON-W"] == contraries["SOFTIRQ-ON-R"] == ["IN-SOFTIRQ-W", "IN-SOFTIRQ-R"]


def test_the_order_graph_is_given_as_data_with_its_first_places() -> None:
    reports: list[Report] = []
    lockdep = Lockdep(reports.append)
    a, b = lockdep.lock_class("a", kind="rwsem"), lockdep.lock_class("b", kind="mutex")
    for read, tag in ((1, "read"), (0, "write")):
        chain = lockdep.acquire(lockdep.root("task"), 0, a.key(read), f"{tag} a")
        lockdep.acquire(chain, 0, b.key(), f"{tag} b")
    (edge,) = lockdep.edges()
    assert (edge.prev, edge.next, edge.kinds) == ("a", "b", ("SN", "EN"))
    assert (edge.held_at, edge.taken_at) == ("read a", "read b")
    first, second = lockdep.classes()
    assert repr(first) == "<rwsem a {++++}>"
    assert first.uses()["HARDIRQ-ON-R"] == "read a"
    assert second.uses() == dict.fromkeys(("HARDIRQ-ON-W", "SOFTIRQ-ON-W", "USED"), "read b")
