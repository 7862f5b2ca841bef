"""What a report says: kind, classes, both places, the circle, and a text that can be read."""

from pathlib import Path

import pytest
from lockdep_flow import BAD_UNLOCK, Context

from vtdkit.kernel.checkers import lockdep as lockdep_package
from vtdkit.kernel.checkers.lockdep import report as kinds
from vtdkit.kernel.checkers.lockdep.classes import LockClass
from vtdkit.kernel.checkers.lockdep.keys import HARDIRQS_OFF, READ, RECURSIVE, SOFTIRQS_OFF
from vtdkit.kernel.checkers.lockdep.report import Link, Report
from vtdkit.kernel.checkers.lockdep.validator import Lockdep


class Bench:
    def __init__(self, raw_nesting: bool = True) -> None:
        self.reports: list[Report] = []
        self.lockdep = Lockdep(self.reports.append, raw_nesting=raw_nesting)
        self.task = Context(self.lockdep)

    def lock(self, name: str, kind: str = "spinlock") -> LockClass:
        return self.lockdep.lock_class(name, kind=kind)

    def under(self, *names: str, where: str = "f", context: Context | None = None) -> None:
        """Spinlocks, one inside the other, at places `f:a`, `f:b`, ..."""
        context = context or self.task
        keys = [(self.lock(name).key(), f"{where}:{name}") for name in names]
        for key, site in keys:
            context.take(key, site)
        for key, site in reversed(keys):
            context.drop(key, site)

    def interrupt(self, *names: str, kind: str = "hardirq-threaded", where: str = "irq") -> None:
        self.under(
            *names, where=where, context=Context(self.lockdep, kind, irqstate=HARDIRQS_OFF | SOFTIRQS_OFF)
        )

    @property
    def kinds(self) -> list[str]:
        return [report.kind for report in self.reports]

    @property
    def only(self) -> Report:
        (report,) = self.reports
        return report


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_circle_names_both_places_and_every_link(bench: Bench) -> None:
    bench.under("a", "b", where="f")
    bench.under("b", "c", where="g")
    bench.under("c", "a", where="h")
    report = bench.only
    assert report.kind == kinds.CIRCULAR
    assert report.classes == ("a", "c")
    assert report.sites == ("h:a", "g:c", "h:c")
    assert report.cycle == (
        Link("c", "a", "EN", "h:c", "h:a"),
        Link("a", "b", "EN", "f:a", "f:b"),
        Link("b", "c", "EN", "g:b", "g:c"),
    )
    assert [str(lock) for lock in report.held] == ["c (exclusive), taken at h:c"]
    assert report.context == "task"
    assert (
        str(report)
        == report.text
        == """\
possible circular locking dependency detected
At h:a, a task context (hard irqs on, soft irqs on) takes a (exclusive),
while it holds c, taken at h:c.
But these locks have been taken the other way round before:
  a -> b: a taken at f:a, then b at f:b
  b -> c: b taken at g:b, then c at g:c

Each CPU below holds what the one before it wants:
  CPU0          CPU1          CPU2
  takes c
                takes a
                              takes b
  waits for a
                waits for b
                              waits for c

It holds, outermost first:
  c (exclusive), taken at h:c"""
    )


def test_the_places_are_those_of_this_context_not_of_the_first_that_made_the_chain(bench: Bench) -> None:
    bench.under("b", where="elsewhere")
    bench.under("a", "b", where="f")
    bench.under("b", "a", where="g")
    assert bench.only.sites == ("g:a", "f:b", "g:b")
    assert bench.only.held[0].site == "g:b"


def test_without_the_places_of_the_context_the_first_of_the_chain_stand_in(bench: Bench) -> None:
    lockdep, (a, b) = bench.lockdep, (bench.lock("a").key(), bench.lock("b").key())
    outer = lockdep.acquire(lockdep.root("task"), 0, a, "first")
    assert [lock.site for lock in outer.held()] == ["first"]
    lockdep.acquire(outer, 0, b, "inner")
    assert [(edge.held_at, edge.taken_at) for edge in lockdep.edges()] == [("first", "inner")]


def test_an_inconsistent_state_names_both_usages_and_both_places(bench: Bench) -> None:
    bench.interrupt("a")
    bench.under("a", where="task")
    report = bench.only
    assert report.kind == kinds.INCONSISTENT
    assert (report.classes, report.sites) == (("a",), ("task:a", "irq:a"))
    assert report.usage == ("IN-HARDIRQ-W", "HARDIRQ-ON-W")
    assert "<hard interrupt>" in report.text
    assert repr(bench.lock("a")).endswith(" a {?.+.}>")


def test_interrupts_that_come_back_on_too_early_are_reported_where_they_do(bench: Bench) -> None:
    bench.interrupt("a", kind="softirq")
    bench.task.set_irqs(SOFTIRQS_OFF, "local_bh_disable")
    bench.task.take(bench.lock("a").key(), "task:a")
    assert bench.reports == []
    bench.task.set_irqs(0, "local_bh_enable")
    report = bench.only
    assert report.sites == ("local_bh_enable", "irq:a")
    assert report.usage == ("IN-SOFTIRQ-W", "SOFTIRQ-ON-W")
    assert report.text.splitlines()[1] == (
        "At local_bh_enable, a task context (hard irqs on, soft irqs on) "
        "lets interrupts in while it holds a (exclusive): {SOFTIRQ-ON-W}."
    )


def test_an_order_from_safe_to_unsafe_gives_the_path_and_three_places(bench: Bench) -> None:
    bench.interrupt("a")
    bench.under("c", where="task")
    bench.task.set_irqs(HARDIRQS_OFF, "off")
    bench.under("b", "c", where="g")
    bench.under("a", "b", where="f")
    report = bench.only
    assert report.kind == "HARDIRQ-safe -> HARDIRQ-unsafe lock order detected"
    assert report.classes == ("a", "c")
    assert report.sites == ("f:b", "irq:a", "task:c")
    assert [(link.prev, link.next) for link in report.cycle] == [("a", "b"), ("b", "c")]
    assert report.usage == ("IN-HARDIRQ-W", "HARDIRQ-ON-W")
    table = report.text.split("in between:\n")[1].split("\n\n")[0]
    assert (
        table
        == """\
  CPU0               CPU1          CPU2
  takes c
                     takes a
                                   takes b
                     waits for b
                                   waits for c
  <hard interrupt>
  waits for a"""
    )


@pytest.mark.parametrize("becomes", ["safe", "unsafe"])
def test_a_class_that_changes_its_state_is_an_inversion_seen_from_either_side(
    bench: Bench, becomes: str
) -> None:
    bench.task.set_irqs(HARDIRQS_OFF, "off")
    bench.under("a", "b", where="f")
    bench.task.set_irqs(0, "on")
    steps = [lambda: bench.interrupt("a"), lambda: bench.under("b", where="task")]
    for step in steps if becomes == "unsafe" else steps[::-1]:
        step()
    report = bench.only
    assert report.kind == kinds.INVERSION
    assert report.classes == ("a", "b")
    assert report.sites == (("task:b", "irq:a") if becomes == "unsafe" else ("irq:a", "task:b"))
    assert [(link.prev, link.next) for link in report.cycle] == [("a", "b")]


def test_where_a_reader_is_in_the_way_the_kind_and_the_text_say_so(bench: Bench) -> None:
    a, b = bench.lock("a", "rwlock"), bench.lock("b", "rwlock")
    interrupt = Context(bench.lockdep, "softirq", irqstate=HARDIRQS_OFF | SOFTIRQS_OFF)
    interrupt.take(a.key(RECURSIVE), "irq")
    bench.task.take(b.key(READ), "task")
    bench.task.drop(b.key(READ), "task")
    bench.task.set_irqs(SOFTIRQS_OFF, "off")
    bench.task.take(a.key(), "f:a")
    bench.task.take(b.key(), "f:b")
    report = bench.only
    assert report.kind == "SOFTIRQ-READ-safe -> SOFTIRQ-READ-unsafe lock order detected"
    assert report.usage == ("IN-SOFTIRQ-R", "SOFTIRQ-ON-R")
    assert "takes b as reader" in report.text
    assert "a writer waits in between" in report.text


def test_recursion_names_the_lock_that_is_held_already(bench: Bench) -> None:
    bench.task.take(bench.lock("outer", "mutex").key(), "f:1")
    bench.task.take(bench.lock("a").key(), "f:2")
    bench.task.take(bench.lock("a").key(), "f:3")
    report = bench.only
    assert report.kind == kinds.RECURSION
    assert (report.classes, report.sites) == (("a", "a"), ("f:3", "f:2"))
    assert [lock.lock for lock in report.held] == ["outer", "a"]


def test_a_subclass_makes_nesting_of_equals_legal_in_one_direction(bench: Bench) -> None:
    inner = bench.lockdep.lock_class("a", subclass=1)
    bench.task.take(bench.lock("a").key(), "outer")
    bench.task.take(inner.key(), "inner")
    assert bench.reports == []
    other = Context(bench.lockdep)
    other.take(inner.key(), "outer")
    other.take(bench.lock("a").key(), "inner")
    assert bench.only.classes == ("a", "a/1")


def test_the_validator_goes_on_after_a_report_and_says_each_thing_once(bench: Bench) -> None:
    for _ in range(3):
        bench.under("a", "b")
        bench.under("b", "a")
        bench.under("x", "a", "b")
        bench.under("c", "d")
        bench.under("d", "c")
        bench.interrupt("c")
    assert [(report.kind, report.classes) for report in bench.reports] == [
        (kinds.CIRCULAR, ("a", "b")),
        (kinds.CIRCULAR, ("c", "d")),
        (kinds.INCONSISTENT, ("c",)),
        (kinds.INVERSION, ("c", "d")),
    ]
    assert len(bench.reports) == 4


@pytest.mark.parametrize(
    ("inner", "context", "limit"),
    [
        ("mutex", "softirq", ()),
        ("mutex", "hardirq-threaded", ()),
        ("spinlock", "hardirq", ()),
        ("raw_spinlock", "hardirq", None),
        ("spinlock", "softirq", None),
    ],
)
def test_a_context_limits_how_its_locks_may_wait(
    bench: Bench, inner: str, context: str, limit: tuple[str, ...] | None
) -> None:
    interrupt = Context(bench.lockdep, context, irqstate=HARDIRQS_OFF | SOFTIRQS_OFF)
    interrupt.take(bench.lock("inner", inner).key(), "here")
    assert bench.kinds == ([] if limit is None else [kinds.WAIT_CONTEXT])


def test_a_lock_that_sleeps_inside_one_that_spins_names_the_strictest_one_held(bench: Bench) -> None:
    for name, kind in (("spin", "spinlock"), ("raw", "raw_spinlock"), ("mutex", "mutex")):
        bench.task.take(bench.lock(name, kind).key(), f"f:{name}")
    report = bench.only
    assert report.kind == kinds.WAIT_CONTEXT == "[ BUG: Invalid wait context ]"
    assert (report.classes, report.sites) == (("mutex", "raw"), ("f:mutex", "f:raw"))
    assert "of type SLEEP, but raw allows no more than SPIN" in report.text


def test_without_raw_nesting_a_spinlock_is_as_strict_as_a_raw_one() -> None:
    bench = Bench(raw_nesting=False)
    bench.task.take(bench.lock("raw", "raw_spinlock").key(), "f")
    bench.task.take(bench.lock("spin").key(), "f")
    Context(bench.lockdep, "hardirq").take(bench.lock("spin").key(trylock=False), "irq")
    assert kinds.WAIT_CONTEXT not in bench.kinds
    bench.task.take(bench.lock("mutex", "mutex").key(), "f")
    assert kinds.WAIT_CONTEXT in bench.kinds


def test_a_read_side_section_limits_waiting_and_makes_no_order(bench: Bench) -> None:
    rcu = bench.lock("rcu_read_lock", "rcu").key(RECURSIVE)
    for keys in ((bench.lock("a").key(), rcu), (rcu, bench.lock("a").key())):
        for key in keys:
            bench.task.take(key, "f")
        for key in reversed(keys):
            bench.task.drop(key, "f")
    assert bench.reports == []
    assert bench.lockdep.edges() == ()
    bench.task.take(rcu, "f")
    bench.task.take(bench.lock("mutex", "mutex").key(), "f")
    assert bench.only.classes == ("mutex", "rcu_read_lock")


def test_an_order_reaches_through_a_read_side_section(bench: Bench) -> None:
    keys = [bench.lock("a").key(), bench.lock("rcu", "rcu").key(RECURSIVE), bench.lock("b").key()]
    for key in keys:
        bench.task.take(key, "f")
    assert [(edge.prev, edge.next) for edge in bench.lockdep.edges()] == [("a", "b")]


def test_a_bad_unlock_leaves_the_chain_alone_and_is_said_once_for_each_place(bench: Bench) -> None:
    bench.task.take(bench.lock("a").key(), "f:1")
    before = bench.task.chain
    for site in ("f:2", "f:2", "f:3"):
        bench.task.drop(bench.lock("b").key(), site)
    assert bench.task.chain is before
    assert [(report.kind, report.classes, report.sites) for report in bench.reports] == [
        (BAD_UNLOCK, ("b",), ("f:2",)),
        (BAD_UNLOCK, ("b",), ("f:3",)),
    ]


def test_a_lock_let_go_in_another_way_than_it_was_taken_is_a_bad_unlock(bench: Bench) -> None:
    lock = bench.lock("a", "rwlock")
    bench.task.take(lock.key(), "f:1")
    bench.task.drop(lock.key(READ), "f:2")
    assert bench.kinds == [BAD_UNLOCK]


def test_letting_go_can_complete_a_circle_and_says_that_it_did(bench: Bench) -> None:
    """A recursive reader in the middle hides an order until it is let go."""
    a, c = bench.lock("a"), bench.lock("c")
    r = bench.lock("r", "rwlock").key(RECURSIVE)
    bench.under("c", "a", where="g")
    for key, site in ((a.key(), "f:a"), (r, "f:r"), (c.key(), "f:c")):
        bench.task.take(key, site)
    assert bench.reports == []
    bench.task.drop(r, "f:unlock")
    assert bench.only.kind == kinds.CIRCULAR
    assert bench.only.sites == ("f:c", "g:a", "f:a")
    assert [(edge.held_at, edge.taken_at) for edge in bench.lockdep.edges()][-1] == ("f:a", "f:c")
    assert bench.only.text.splitlines()[1] == (
        "At f:c, a task context lets go of another lock and keeps c (exclusive),"
    )


def test_a_reader_that_queues_inside_an_interrupt_inverts_its_own_class(bench: Bench) -> None:
    """Only a rwsem could: taken in an interrupt, behind a writer who waits for the reader it interrupted."""
    lock = bench.lock("a", "plain")
    bench.task.take(lock.key(READ), "task")
    interrupt = Context(bench.lockdep, "hardirq", irqstate=HARDIRQS_OFF | SOFTIRQS_OFF)
    interrupt.take(lock.key(READ), "irq")
    report = bench.only
    assert (report.kind, report.classes, report.cycle) == (kinds.INVERSION, ("a", "a"), ())
    assert report.sites == ("irq", "task")
    assert "a writer waits in between" in report.text


def test_the_example_of_the_readme_runs_and_finds_a_circle(capsys: pytest.CaptureFixture[str]) -> None:
    readme = Path(lockdep_package.__file__).with_name("README.md").read_text()
    exec(readme.split("```python\n")[1].split("```")[0], {})
    assert capsys.readouterr().out.startswith(kinds.CIRCULAR)
