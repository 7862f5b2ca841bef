"""The kernel's locking self-test as data: every case of the table in lib/locking-selftest.c, generated.

A case is a list of steps in the words of tests/kernel/lockdep_selftest.json, which others wrote down: some
two thirds of the cases; test_selftest_table compares the two. 355 cases; fs_reclaim (3) and wound/wait (36)
have files of their own. One is left out: that a subclass keeps the name of its class, about C pointers.

Locks: A..D, L, M are classes; X1 and X2 two locks of one class (Y, Z alike). Steps: `acq`/`rel`/`init` LOCK
KIND; `hard(` `hard)` `soft(` `soft)` enter and leave an interrupt; `irq-` `irq+` `bh-` `bh+` switch them off
and on; `rcu(` `rcu)` and so on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

Step = list[str]
SEVEN = ("spin", "wlock", "rlock", "mutex", "wsem", "rsem", "rtmutex")
HOW = {"wlock": "write", "rlock": "read"}


@dataclass(frozen=True)
class Case:
    id: str
    group: str
    kind: str
    context: str
    order: str
    steps: tuple[tuple[str, ...], ...]
    reports: bool


def case(
    id: str, group: str, kind: str, steps: list[Step], reports: bool, context: str = "", order: str = ""
) -> Case:
    return Case(id, group, kind, context, order, tuple(tuple(step) for step in steps), reports)


def lock(name: str, how: str) -> list[Step]:
    return [["acq", name, how]]


def unlock(name: str, how: str) -> list[Step]:
    return [["rel", name, how]]


def under(*locks: tuple[str, str]) -> list[Step]:
    """Take these locks in this order, let them go in the opposite order."""
    return [["acq", *pair] for pair in locks] + [["rel", *pair] for pair in reversed(locks)]


def inside(context: str, steps: list[Step]) -> list[Step]:
    return [[f"{context}("], *steps, [f"{context})"]]


def irqs_off(context: str, steps: list[Step]) -> list[Step]:
    return [["irq-"], *steps, ["irq+"]] if context == "hard" else [["bh-"], *steps, ["bh+"]]


def in_all_orders(events: list[list[Step]]) -> Iterator[tuple[str, list[Step]]]:
    for order in permutations(range(len(events))):
        yield "".join(str(at + 1) for at in order), [step for at in order for step in events[at]]


CIRCLES = {
    "ABBA": ("A-B-B-A deadlock", "AB BA"),
    "ABBCCA": ("A-B-B-C-C-A deadlock", "AB BC CA"),
    "ABCABC": ("A-B-C-A-B-C deadlock", "AB CA BC"),
    "ABBCCDDA": ("A-B-B-C-C-D-D-A deadlock", "AB BC CD DA"),
    "ABCDBDDA": ("A-B-C-D-B-D-D-A deadlock", "AB CD BD DA"),
    "ABCDBCDA": ("A-B-C-D-B-C-D-A deadlock", "AB CD BC DA"),
}


def simple() -> Iterator[Case]:
    """63 cases: recursion, circles, double unlock, initialising a held lock, each for seven primitives."""
    for kind in SEVEN:
        how = HOW.get(kind, kind)
        recursive = kind == "rlock"
        yield case(f"AA_{kind}", "A-A deadlock", kind, lock("X1", how) + lock("X2", how), not recursive)
        for name, (group, pairs) in CIRCLES.items():
            steps = [step for pair in pairs.split() for step in under((pair[0], how), (pair[1], how))]
            yield case(f"{name}_{kind}", group, kind, steps, not recursive)
        yield case(
            f"double_unlock_{kind}", "double unlock", kind, lock("A", how) + 2 * unlock("A", how), True
        )
        yield case(f"init_held_{kind}", "initialize held", kind, [*lock("A", how), ["init", "A", how]], True)


def mixed() -> Iterator[Case]:
    """15 cases: readers and writers of one primitive, rwlock (whose readers are recursive here) and rwsem."""
    for prefix, kind, read, write, other in (
        ("rlock", "rwlock", "read", "write", "spin"),
        ("rsem", "rwsem", "rsem", "wsem", "mutex"),
    ):
        sem = kind == "rwsem"
        two = "rwsem" if sem else "rlock"
        first = under(("X1", read), ("Y1", other))
        yield case(f"{prefix}_AA1", "recursive read-lock", kind, lock("X1", read) + lock("X1", read), sem)
        yield case(f"{prefix}_AA1B", "recursive read-lock #2", kind, lock("X1", read) + lock("X2", read), sem)
        yield case(f"{prefix}_AA2", "mixed read-write-lock", kind, lock("X1", read) + lock("X2", write), True)
        yield case(f"{prefix}_AA3", "mixed write-read-lock", kind, lock("X1", write) + lock("X2", read), True)
        yield case(
            f"{two}_ABBA1",
            "mixed read-lock/lock-write ABBA",
            kind,
            first + under(("Y1", other), ("X1", write)),
            True,
        )
        yield case(
            f"{two}_ABBA2",
            "mixed read-lock/lock-read ABBA",
            kind,
            first + under(("Y1", other), ("X1", read)),
            sem,
        )
        yield case(
            f"{two}_ABBA3",
            "mixed write-lock/lock-write ABBA",
            kind,
            under(("X1", write), ("Y1", other)) + under(("Y1", other), ("X1", write)),
            True,
        )
    steps = under(("X1", "read"), ("Y1", "spin"))
    steps += under(("Y1", "spin"), ("X1", "read")) + under(("Y1", "spin"), ("X1", "write"))
    yield case("rlock_chaincache_ABBA1", "chain cached mixed R-L/L-W ABBA", "rwlock", steps, True)


TRIANGLES = {  # first letter of each pair: how the outer lock is taken, second: the inner
    "W1R2_W2R3_W3R1": ("rlock W1R2/W2R3/W3R1", "WR WR WR", True),
    "W1W2_R2R3_W3R1": ("rlock W1W2/R2R3/W3R1", "WW RR WR", True),
    "W1W2_R2R3_R3W1": ("rlock W1W2/R2R3/R3W1", "WW RR RW", False),
    "W1R2_R2R3_W3W1": ("rlock W1R2/R2R3/W3W1", "WR RR WW", False),
}


def triangles() -> Iterator[Case]:
    """24 cases: three rwlocks in a circle, some of the six holders reading."""
    names = {"W": "write", "R": "read"}
    for name, (group, pairs, reports) in TRIANGLES.items():
        sides = zip(("X1", "Y1", "Z1"), ("Y1", "Z1", "X1"), pairs.split(), strict=True)
        events = [under((outer, names[p[0]]), (inner, names[p[1]])) for outer, inner, p in sides]
        for order, steps in in_all_orders(events):
            yield case(f"{name}_{order}", group, "rwlock", steps, reports, order=order)


THREE = ("spin", "wlock", "rlock")


def irq_pairs() -> Iterator[Case]:
    """30 cases: one lock, taken in an interrupt and with interrupts on."""
    for kind in THREE:
        how = HOW.get(kind, kind)
        a = under(("A", how))
        reports = kind != "rlock"
        for context in ("hard", "soft"):
            safe = inside(context, a)
            held_while_on = irqs_off(context, lock("A", how)) + unlock("A", how)
            for name, group, second in (
                ("irqsafe1", "irqs-on + irq-safe-A", a),
                ("irqsafe2B", "safe-A + irqs-on", held_while_on),
            ):
                for order, steps in in_all_orders([safe, second]):
                    yield case(
                        f"{name}_{context}_{kind}_{order}", group, kind, steps, reports, context, order
                    )
        second = irqs_off("hard", lock("A", how)) + unlock("A", how)
        for order, steps in in_all_orders([inside("soft", a), second]):
            yield case(
                f"irqsafe2A_soft_{kind}_{order}",
                "sirq-safe-A => hirqs-on",
                kind,
                steps,
                reports,
                "soft",
                order,
            )


def irq_triples() -> Iterator[Case]:
    """180 cases: two locks, an order between them, and interrupts; every order of the three events."""
    for context in ("hard", "soft"):
        for kind in THREE:
            how = HOW.get(kind, kind)
            ab, b = under(("A", how), ("B", how)), under(("B", how))
            a_in_irq = inside(context, under(("A", how)))
            inversion = irqs_off(context, under(("A", "write"), ("B", how)))
            for name, group, events in (
                ("irqsafe3", "safe-A + unsafe-B #1", [ab, b, a_in_irq]),
                ("irqsafe4", "safe-A + unsafe-B #2", [irqs_off(context, ab), b, a_in_irq]),
                (
                    "irq_inversion",
                    "irq lock-inversion",
                    [inversion, b, inside(context, under(("A", "read")))],
                ),
            ):
                for order, steps in in_all_orders(events):
                    id = f"{name}_{context}_{kind}_{order}"
                    yield case(id, group, kind, steps, kind != "rlock", context, order)
        for kind in ("wlock", "rlock"):
            yield from read_recursion(context, kind)


def read_recursion(context: str, kind: str) -> Iterator[Case]:
    how = HOW[kind]
    a_read = under(("A", "read"))
    for name, group, events in (
        (
            "irq_read_recursion",
            "irq read-recursion",
            [
                irqs_off(context, under(("A", "write"))),
                a_read,
                inside(context, under(("A", how), ("B", "spin"))),
            ],
        ),
        (
            "irq_read_recursion2",
            "irq read-recursion #2",
            [
                irqs_off(context, under(("B", "spin"), ("A", how))),
                a_read,
                inside(context, under(("B", "spin"))),
            ],
        ),
        (
            "irq_read_recursion3",
            "irq read-recursion #3",
            [
                irqs_off(context, under(("B", "write"), ("A", how))),
                a_read,
                inside(context, under(("B", "read"))),
            ],
        ),
    ):
        for order, steps in in_all_orders(events):
            yield case(
                f"{name}_{context}_{kind}_{order}", group, kind, steps, kind == "wlock", context, order
            )


def queued() -> Iterator[Case]:
    """3 cases in which rwlock readers queue, so that only those in interrupts are recursive."""
    ab, ba = under(("A", "read"), ("B", "spin")), under(("B", "spin"), ("A", "read"))
    for id, group, steps, reports in (
        (
            "queued_read_lock_hardirq_RE_Er",
            "hardirq read-lock/lock-read",
            inside("hard", ab) + irqs_off("hard", ba),
            True,
        ),
        (
            "queued_read_lock_hardirq_ER_rE",
            "hardirq lock-read/read-lock",
            inside("hard", ba) + irqs_off("hard", ab),
            False,
        ),
        (
            "queued_read_lock_hardirq_inversion",
            "hardirq inversion",
            inside("hard", under(("B", "spin"))) + irqs_off("hard", ba) + under(("A", "read")),
            True,
        ),
    ):
        yield case(id, group, "queued", steps, reports)


OUTER = {  # what opens and closes the context, and what may be taken in it: RCU, raw, spin, mutex
    "HARDIRQ": (["hard(", "threaded"], ["hard)"], "oooX"),
    "NOTTHREADED_HARDIRQ": (["hard(", "not threaded"], ["hard)"], "ooXX"),
    "SOFTIRQ": (["soft("], ["soft)"], "oooX"),
    "RCU": (["rcu("], ["rcu)"], "oooX"),
    "RCU_BH": (["rcubh("], ["rcubh)"], "oooX"),
    "RCU_SCHED": (["rcusched("], ["rcusched)"], "ooXX"),
    "raw_spinlock": (["acq", "A", "raw"], ["rel", "A", "raw"], "ooXX"),
    "spinlock": (["acq", "A", "spin"], ["rel", "A", "spin"], "oooX"),
    "mutex": (["acq", "A", "mutex"], ["rel", "A", "mutex"], "oooo"),
}
INNER = {
    "RCU": [["rcu("], ["rcu)"]],
    "raw_spinlock": under(("B", "raw")),
    "spinlock": under(("B", "spin")),
    "mutex": under(("B", "mutex")),
}


def wait_contexts() -> Iterator[Case]:
    """36 cases: four inner locks in nine outer contexts."""
    for outer, (opens, closes, allowed) in OUTER.items():
        for (inner, steps), mark in zip(INNER.items(), allowed, strict=True):
            yield case(
                f"{inner}_in_{outer}", "wait context", inner, [opens, *steps, closes], mark == "X", outer
            )


def special() -> Iterator[Case]:
    """4 cases: local locks are none for interrupt order; a trap for searches that mix hard and soft."""
    spin_in_irq = inside("hard", under(("A", "spin")))
    a_then_local = irqs_off("hard", under(("A", "spin"), ("L", "local")))
    local_then_b = under(("L", "local"), ("B", "spin"))
    inversion_2 = under(("L", "local")) + spin_in_irq + a_then_local
    inversion_3 = local_then_b + spin_in_irq + a_then_local
    a_then_b = [["irq-"], *under(("A", "spin"), ("B", "spin")), ["irq-"]]
    yield case("local_lock_2", "local_lock inversion  2", "local", inversion_2, False)
    yield case("local_lock_3A", "local_lock inversion 3A", "local", inversion_3, False)
    yield case("local_lock_3B", "local_lock inversion 3B", "local", inversion_3 + a_then_b, True)
    steps = [
        *lock("M", "mutex"),
        *irqs_off("hard", under(("C", "spin"))),
        *unlock("M", "mutex"),
        *inside("hard", under(("A", "spin"))),
        *irqs_off("hard", under(("A", "spin"), ("B", "spin"))),
        *irqs_off("hard", under(("B", "spin"), ("C", "spin"))),
        *inside("soft", under(("D", "spin"))),
        *irqs_off("soft", under(("D", "spin"))),
        *irqs_off("hard", under(("C", "spin"), ("D", "spin"))),
    ]
    yield case("hardirq_deadlock_softirq_not_deadlock", "hardirq_unsafe_softirq_safe", "special", steps, True)


GENERATORS = (simple, mixed, triangles, irq_pairs, irq_triples, queued, wait_contexts, special)
CASES = [each for generator in GENERATORS for each in generator()]
