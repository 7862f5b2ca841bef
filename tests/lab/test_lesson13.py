"""Lesson 13: claims of the debate and what the model says to them; each verdict can come
out the other way.
"""

from __future__ import annotations

import pytest

from lessons import lesson13 as lesson
from lessons.claims.catalogue import CLAIMS
from lessons.scenes import QUESTIONS
from lessons.variants.readers import free_after_grace_period
from lessons.variants.readers import test_addresses as addresses_tested
from lessons.variants.tables import flush_before_free, load_store_insert
from tests.notebooks.cells import scenes
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.series.catalogue import driver_at

DRIVER = driver_at(0)


def found(name: str, driver: type = DRIVER, limit: int | None = None) -> ScenarioExploration:
    return explore((QUESTIONS | SCENARIOS)[name].on(driver), limit=limit)


@pytest.mark.parametrize(
    ("claim", "scenario", "driver", "against", "executions"),
    [
        ("no lock needed", "maps-apart", DRIVER, 0, 4),
        ("no lock needed", "maps-apart", load_store_insert(DRIVER), 2, 6),
        ("no promise", "maps-same-page", DRIVER, 0, 6),
        ("no promise", "maps-apart", DRIVER, 4, 4),
        ("cannot guard freeing", "map-in-unmap", DRIVER, 0, 5),
        ("cannot guard freeing", "maps-apart", DRIVER, 4, 4),
        ("block wins", "block-and-page", DRIVER, 1, 25),
        ("useless output", "dump-unmap", addresses_tested(DRIVER), 1, 3),
        ("useless output", "dump-unmap", free_after_grace_period(DRIVER), 0, 4),
        ("invalidate, then free", "superpage-dma", flush_before_free(DRIVER), 0, 63),
        ("test and clear", "dirty-cmpxchg", DRIVER, 0, 23),
        ("test and clear", "dirty-store", DRIVER, 7, 23),
    ],
)
def test_claims_are_judged_by_every_order(
    claim: str, scenario: str, driver: type, against: int, executions: int
) -> None:
    verdict = lesson.judged(claim, found(scenario, driver))
    assert verdict.evidence == f"against it {against} of {executions} executions, every order"
    assert verdict.word == ("does not hold" if against else "holds")


def test_the_seven_are_claims_of_the_catalogue() -> None:
    numbers = [number for number, _ in lesson.SEVEN.values()]
    assert len(set(numbers)) == 7
    assert {CLAIMS[number].lesson for number in numbers} <= {"13", "15", "16", "17", "19"}


def test_the_scene_of_the_notebook_is_that_of_the_first_claim() -> None:
    scene = scenes("13").neighbouring_pages
    mine = explore(lambda machine: scene(DRIVER, machine))
    assert mine.outcomes == found("maps-apart").outcomes


def test_the_table_under_a_new_block_is_freed_too_early_unless_it_is_flushed_first() -> None:
    early = lesson.judged("invalidate, then free", found("superpage-dma", limit=20))
    assert (early.word, early.evidence) == (
        "does not hold",
        "against it 13 of 20 executions, not every order",
    )


def test_an_exploration_that_was_cut_short_never_says_that_a_claim_holds() -> None:
    short = found("superpage-dma", flush_before_free(DRIVER), limit=3)
    assert lesson.judged("invalidate, then free", short).word == "not seen to fail"


def test_the_last_table_has_every_claim_and_says_which_it_did_not_run() -> None:
    rows = lesson.every_claim()
    assert [one.number for one in rows] == list(CLAIMS)
    assert [one.number for one in rows if one.word == "not run here"] == list(lesson.LONG)
    assert rows[0].evidence == CLAIMS[1].verdict(otherwise=False).evidence
    assert repr(rows).count("[lesson") == len(CLAIMS)


def test_the_page_wins_while_the_block_is_said_to_be_mapped() -> None:
    steps = lesson.page_wins(DRIVER, found("block-and-page"))
    assert len(steps) == 11
    assert steps.outcome == "(0, 0, 'nothing', '0x6000000', 0)"
    assert [each.title for each in steps.findings] == ["WARNING: DMA PTE already set"]
    with pytest.raises(LookupError, match="no execution"):
        lesson.page_wins(DRIVER, found("block-and-page", limit=1))


def test_ends_are_a_table_and_an_oops_is_a_dash() -> None:
    shown = lesson.ends(found("block-and-page"), "block", "page", "at 0x0", "at 0x3000", "lost")
    assert shown.rows[1] == (2, 0, "-", "0x40000000", "0x40003000", 0)
    assert sum(int(str(row[0])) for row in shown.rows) == 25


@pytest.mark.parametrize("seed", range(8))
def test_tables_freed_is_what_the_driver_frees(seed: int) -> None:
    iova, length = lesson.unmapped(seed)
    exercise, right = lesson.TABLES_FREED.seeded(seed), lesson.tables_freed(DRIVER, iova, length)
    assert f"{length:#x} bytes from {iova:#x}" in exercise.show().text
    assert exercise.check(right)
    touched = (iova + length - 1) // lesson.BLOCK - iova // lesson.BLOCK + 1
    assert "have others too" in exercise.check(touched).text


def test_put_it_in_wants_an_atomic_insert_and_the_losers_page_back() -> None:
    """§2: the loser's page leaked, whatever its name; no test of None."""
    exercise = lesson.PUT_IT_IN.seeded(0)
    assert exercise.check(lesson.insert_table)
    assert exercise.check(DRIVER.insert_table)
    assert not exercise.check(load_store_insert(DRIVER).insert_table)

    async def keeps_the_page(self, domain, pte, level):  # type: ignore[no-untyped-def]
        page = await self.alloc_pgtable_page(domain.nid, f"{domain.label} level {level - 1} table")
        value = page.address | 3
        return await pte.cmpxchg(0, value) or value

    async def other_name(self, domain, pte, level):  # type: ignore[no-untyped-def]
        page = await self.alloc_pgtable_page(domain.nid, "a table")
        if page is None:
            return 0
        return await pte.cmpxchg(0, page.address | 3) or page.address | 3

    async def no_test(self, domain, pte, level):  # type: ignore[no-untyped-def]
        page = await self.alloc_pgtable_page(domain.nid, "a table")
        found = await pte.cmpxchg(0, page.address | 3)
        if found:
            await self.free_pgtable_page(page)
        return found or page.address | 3

    assert not exercise.check(keeps_the_page)
    assert "1 page not given back" in exercise.check(other_name).text
    assert "allocation 1 fails" in exercise.check(no_test).text
    assert "no answer" in exercise.check(None).text
    assert exercise.try_out(lesson.insert_table).rows[0][0] == 4
