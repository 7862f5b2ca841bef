"""The kernel's own locking self-test: every case from a clean validator, and proof that it can fail."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import lockdep_player
import pytest
from lockdep_cases import CASES, Case
from lockdep_flow import BAD_UNLOCK, HELD_FREED, Context
from lockdep_player import Player

from vtdkit.kernel.checkers.lockdep import graph, irq, order
from vtdkit.kernel.checkers.lockdep import report as kinds
from vtdkit.kernel.checkers.lockdep.keys import READ
from vtdkit.kernel.checkers.lockdep.order import OrderRules
from vtdkit.kernel.checkers.lockdep.validator import Lockdep

WRITTEN_DOWN = json.loads((Path(__file__).parents[1] / "lockdep_selftest.json").read_text())["cases"]
ORDERS = ("possible irq lock inversion dependency detected", "-unsafe lock order detected")
EXPECTED = {  # what a case of this group may be called, as the end of the report's kind
    "A-A deadlock": (kinds.RECURSION,),
    "double unlock": (BAD_UNLOCK,),
    "initialize held": (HELD_FREED,),
    "recursive read-lock": (kinds.RECURSION,),
    "recursive read-lock #2": (kinds.RECURSION,),
    "mixed read-write-lock": (kinds.RECURSION,),
    "mixed write-read-lock": (kinds.RECURSION,),
    "irqs-on + irq-safe-A": (kinds.INCONSISTENT,),
    "sirq-safe-A => hirqs-on": (kinds.INCONSISTENT,),
    "safe-A + irqs-on": (kinds.INCONSISTENT,),
    "safe-A + unsafe-B #1": (kinds.INCONSISTENT, *ORDERS),
    "irq read-recursion": (kinds.INCONSISTENT,),
    "wait context": (kinds.WAIT_CONTEXT,),
    **dict.fromkeys(
        (
            "safe-A + unsafe-B #2",
            "irq lock-inversion",
            "irq read-recursion #2",
            "irq read-recursion #3",
            "hardirq inversion",
            "local_lock inversion 3B",
            "hardirq_unsafe_softirq_safe",
        ),
        ORDERS,
    ),
}


def play(case: Case) -> list[str]:
    return [report.kind for report in Player(queued=case.kind == "queued").play(case.steps)]


def agreeing() -> int:
    """Of how many cases does the validator say what the kernel's must say?"""
    return sum(bool(play(case)) == case.reports for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_case_is_reported_or_passed_over_as_in_the_kernel(case: Case) -> None:
    found = play(case)
    assert bool(found) == case.reports
    endings = EXPECTED.get(case.group, (kinds.CIRCULAR,))
    assert [kind for kind in found if not kind.endswith(endings)] == []


def test_the_table_has_355_cases_of_which_223_must_report() -> None:
    assert len({case.id for case in CASES}) == len(CASES) == 355
    assert Counter(case.reports for case in CASES) == {True: 223, False: 132}


def test_the_cases_written_down_by_others_are_the_generated_ones_step_by_step() -> None:
    generated = {case.id: case for case in CASES}
    assert len(WRITTEN_DOWN) == 221
    for theirs in WRITTEN_DOWN:
        ours = generated[theirs["id"]]
        assert [list(step) for step in ours.steps] == theirs["steps"]
        assert ours.reports == (theirs["expect"] == "report")
        fields = ("group", "kind", "context", "order")
        assert [getattr(ours, field) for field in fields] == [theirs[field] for field in fields]


def test_every_case_written_down_by_others_is_judged_as_they_say() -> None:
    for theirs in WRITTEN_DOWN:
        found = Player(queued=theirs["kind"] == "queued").play([tuple(step) for step in theirs["steps"]])
        assert bool(found) == (theirs["expect"] == "report"), theirs["id"]


# ---- damage. The comments give what a validator by others lost by the damage of that name.


def sharing_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(order, "edge_kind", lambda prev_read, next_read: 3)


def no_recursive_readers(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(lockdep_player.KINDS, "read", ("rwlock", READ))
    patch.setattr(lockdep_player, "queued_read", lambda in_irq, irqstate: READ)


def no_circle_search(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OrderRules, "_check_circle", lambda *args: None)


def no_edges_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(order, "add_edge", lambda *args: None)


def nothing_marked_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lockdep, "irqs_on", lambda *args: None)


def nothing_marked_again_for_hard_interrupts(patch: pytest.MonkeyPatch) -> None:
    whole = Context.set_irqs

    def damaged(context: Context, irqstate: int, site: str) -> None:
        if context.irqstate & 1:
            context.irqstate = irqstate
        whole(context, irqstate, site)

    patch.setattr(Context, "set_irqs", damaged)


def gaps_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(graph, "_FROM_READER", 0)
    patch.setattr(graph, "_TO_RECURSIVE", 0)


def ends_of_paths_ignored(patch: pytest.MonkeyPatch) -> None:
    whole = graph.find
    for module in (order, irq):
        patch.setattr(module, "find", lambda start, weak, match, **how: whole(start, False, match, **how))


def local_locks_searched(patch: pytest.MonkeyPatch) -> None:
    whole = graph.find
    patch.setattr(irq, "find", lambda *args, locks_only, **how: whole(*args, **how))


def readers_always_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(irq, "visible", lambda mask, weak: mask)


def no_wait_contexts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lockdep, "_check_wait_context", lambda *args: None)


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (sharing_forgotten, 297),  # "recursive readers ignored": 297
        (no_recursive_readers, 275),  # the same idea taken further: readers do not recurse anywhere
        (no_circle_search, 300),  # "no cycle search": 300
        (no_edges_kept, 250),  # "no graph at all": 250; a new edge is still checked by itself
        (nothing_marked_again_for_hard_interrupts, 347),  # "no re-marking": 347
        (nothing_marked_again, 343),  # the same for soft interrupts too: 4 cases more
        (gaps_ignored, 297),
        (ends_of_paths_ignored, 288),
        (local_locks_searched, 353),
        (readers_always_count, 293),
        (no_wait_contexts, 344),
    ],
)
def test_a_damaged_validator_fails_the_table(
    damage: Callable[[pytest.MonkeyPatch], None], left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(monkeypatch)
    assert agreeing() == left


def test_the_whole_validator_agrees_in_all_cases(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nlocking self-test: {agreeing()} of {len(CASES)} cases as in the kernel")
    assert agreeing() == 355
