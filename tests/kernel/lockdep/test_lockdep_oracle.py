"""Random lock use, judged by the validator and by two others.

One of them remembers no chain, the other has no search: it tries every walk.
"""

from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise, product

from hypothesis import given, settings
from hypothesis import strategies as st
from lockdep_flow import Context

from vtdkit.kernel.checkers.lockdep import report as kinds
from vtdkit.kernel.checkers.lockdep.chain import Chain
from vtdkit.kernel.checkers.lockdep.keys import EXCLUSIVE, HARDIRQS_OFF, READ, RECURSIVE, SOFTIRQS_OFF
from vtdkit.kernel.checkers.lockdep.report import Report
from vtdkit.kernel.checkers.lockdep.validator import Lockdep

# ---- one that remembers no chain


class Forgetful(Lockdep):
    """The same rules without the trie: every lock taken is checked as if its chain were new."""

    def acquire(
        self, chain: Chain, irqstate: int, key: int, site: Hashable, sites: Sequence[Hashable] = ()
    ) -> Chain:
        child = super().acquire(chain, irqstate, key, site, sites)
        chain.next[irqstate].clear()
        chain.children.clear()
        return child

    def release(self, chain: Chain, key: int, site: Hashable, sites: Sequence[Hashable] = ()) -> Chain:
        rest = super().release(chain, key, site, sites)
        for node, _ in rest.nodes()[::-1]:
            assert node.parent is not None
            node.parent.children.clear()
        return rest

    def irqs_on(self, chain: Chain, irqstate: int, site: Hashable, sites: Sequence[Hashable] = ()) -> None:
        chain.irqs_seen = 0
        super().irqs_on(chain, irqstate, site, sites)


CLASSES = 4
WAYS = st.tuples(st.integers(0, CLASSES - 1), st.sampled_from((EXCLUSIVE, READ, RECURSIVE)), st.booleans())
OPS = st.one_of(
    st.tuples(st.just("take"), WAYS),
    st.tuples(st.just("take"), WAYS),
    st.tuples(st.just("drop"), st.integers(0, 9)),
    st.tuples(st.just("irqs"), st.integers(0, 3)),
    st.tuples(st.just("enter"), st.sampled_from(("hardirq", "hardirq-threaded", "softirq"))),
    st.tuples(st.just("leave"), st.none()),
)
Op = tuple[str, object]
MIXED = ("plain", "spinlock", "raw_spinlock", "local_lock")


def run(lockdep: Lockdep, ops: Sequence[Op]) -> None:
    """What makes no sense where it stands is passed over. A site is a function of the operation alone."""
    classes = [lockdep.lock_class(f"c{n}", kind=kind) for n, kind in enumerate(MIXED)]
    stack: list[tuple[Context, list[int]]] = [(Context(lockdep), [])]
    for op, what in ops:
        context, held = stack[-1]
        if op == "take":
            number, read, trylock = what
            key = classes[number].key(read, trylock=trylock)
            held.append(key)
            context.take(key, f"take {key}")
        elif op == "drop" and held:
            key = held.pop(what % len(held))
            context.drop(key, f"drop {key}")
        elif op == "irqs" and context.chain.context.name == "task":
            context.set_irqs(what, f"irqs {what}")
        elif op == "enter" and len(stack) < 3:
            stack.append((Context(lockdep, what, irqstate=HARDIRQS_OFF | SOFTIRQS_OFF), []))
        elif op == "leave" and len(stack) > 1:
            stack.pop()


@settings(deadline=None, max_examples=150)
@given(st.lists(OPS, max_size=40))
def test_remembering_chains_changes_no_answer(ops: list[Op]) -> None:
    remembered: list[Report] = []
    forgotten: list[Report] = []
    one, other = Lockdep(remembered.append), Forgetful(forgotten.append)
    run(one, ops)
    run(other, ops)
    assert remembered == forgotten
    assert one.edges() == other.edges()
    learnt = ([(lock.name, lock.usage, lock.uses()) for lock in each.classes()] for each in (one, other))
    assert next(learnt) == next(learnt)


# ---- one that tries every walk

Event = tuple[str, int, list[tuple[int, int]]]


@st.composite
def events(draw: st.DrawFn) -> Event:
    """One context that takes up to three locks of different classes, one inside the other."""
    context = draw(st.sampled_from(("task", "task", "hardirq", "softirq")))
    irqstate = draw(st.integers(0, 3)) if context == "task" else HARDIRQS_OFF | SOFTIRQS_OFF
    numbers = draw(st.lists(st.integers(0, CLASSES), min_size=1, max_size=3, unique=True))
    ways = (EXCLUSIVE, READ, RECURSIVE) if context == "task" else (EXCLUSIVE, RECURSIVE)
    return context, irqstate, [(number, draw(st.sampled_from(ways))) for number in numbers]


Edge = tuple[int, int, str]
Use = tuple[int, str]  # class, W or R


class EveryWalk:
    """The rules in one piece, without searching: all edges, all uses, and which edge may follow which."""

    def __init__(self, history: Sequence[Event]) -> None:
        self.edges = {edge for _, _, locks in history for edge in pairs(locks)}
        self.follows = {
            (one, two)
            for one, two in product(self.edges, self.edges)
            if one[1] == two[0] and not (one[2][1] == "R" and two[2][0] == "S")
        }
        for via, one, two in product(self.edges, self.edges, self.edges):  # Warshall: `via` is the outer loop
            if (one, via) in self.follows and (via, two) in self.follows:
                self.follows.add((one, two))
        self.history = history

    def has_circle(self) -> bool:
        return any((edge, edge) in self.follows for edge in self.edges)

    def uses(self, context: str, irqs_off: int) -> set[Use]:
        """Who was used inside `context`, or (task) held with none of `irqs_off` off."""
        return {
            (number, "W" if read == EXCLUSIVE else "R")
            for where, irqstate, locks in self.history
            for number, read in locks
            if where == context and not irqstate & irqs_off
        }

    def has_irq_fault(self) -> bool:
        return any(
            self.clash(safe, unsafe)
            for context, irqs_off in (("hardirq", HARDIRQS_OFF), ("softirq", HARDIRQS_OFF | SOFTIRQS_OFF))
            for safe, unsafe in product(self.uses(context, 0), self.uses("task", irqs_off))
        )

    def clash(self, safe: Use, unsafe: Use) -> bool:
        if safe[0] == unsafe[0] and "W" in (safe[1], unsafe[1]):
            return True
        starts = [e for e in self.edges if e[0] == safe[0] and (e[2][0] == "E" or safe[1] == "W")]
        ends = [e for e in self.edges if e[1] == unsafe[0] and (e[2][1] == "N" or unsafe[1] == "W")]
        return any(one == two or (one, two) in self.follows for one, two in product(starts, ends))


def pairs(locks: list[tuple[int, int]]) -> Iterator[Edge]:
    for (outer, outer_read), (inner, inner_read) in pairwise(locks):
        yield (
            outer,
            inner,
            ("E" if outer_read == EXCLUSIVE else "S") + ("R" if inner_read == RECURSIVE else "N"),
        )


def judge(history: Sequence[Event]) -> set[str]:
    reports: list[Report] = []
    lockdep = Lockdep(reports.append)
    for context, irqstate, locks in history:
        flow = Context(lockdep, context, irqstate=irqstate)
        for number, read in locks:
            flow.take(lockdep.lock_class(f"c{number}", kind="plain").key(read), f"c{number}")
    return {report.kind for report in reports}


@settings(deadline=None, max_examples=300)
@given(st.lists(events(), max_size=7))
def test_circles_and_interrupt_faults_are_found_exactly_when_a_walk_shows_them(history: list[Event]) -> None:
    found = judge(history)
    walks = EveryWalk(history)
    assert (kinds.CIRCULAR in found) == walks.has_circle()
    assert bool(found - {kinds.CIRCULAR}) == walks.has_irq_fault()


@settings(deadline=None, max_examples=100)
@given(st.lists(events(), max_size=6), st.randoms(use_true_random=False))
def test_the_verdict_does_not_depend_on_the_order_of_events(history: list[Event], random: object) -> None:
    shuffled = list(history)
    random.shuffle(shuffled)
    verdicts = [
        (kinds.CIRCULAR in found, bool(found - {kinds.CIRCULAR}))
        for found in (judge(history), judge(shuffled))
    ]
    assert verdicts[0] == verdicts[1]
