"""Answers that judges once took for right, and right ones they refused (§2, by lesson).

Judges of lessons 02 to 07; each test's name says which answer, its docstring the entry of the list.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons import lesson00, lesson02, lesson03, lesson04, lesson05, lesson06, lesson07
from vtdkit.iommu.intel import defs
from vtdkit.lab.exercises import judge as judge_module
from vtdkit.lab.exercises.exercise import Exercise
from vtdkit.lab.exercises.judge import CodeExercise
from vtdkit.lab.exercises.prediction import predict


def refused(exercise: CodeExercise, answer: Any, why: str) -> None:
    said = exercise.seeded(0).check(answer)
    assert not said
    assert why in said.text


def test_02_an_unlocked_walk_of_the_drivers_list() -> None:
    """Section 2: 02 by address."""

    async def get_alias_pasid_table(self, pdev, bus, devfn, data):  # type: ignore[no-untyped-def]
        for info in self.device_domain_list.entries():
            here = (info.segment, info.bus, info.devfn) == (pdev.segment, bus, devfn)
            if here and info.pasid_table is not None:
                data.pasid_table = info.pasid_table
                return 1
        return 0

    refused(lesson02.BY_ADDRESS, get_alias_pasid_table, "without device_domain_lock")


def test_03_takes_the_units_lock() -> None:
    """Section 2: 03 warn and stop."""

    async def disable_dmar_iommu(self, iommu):  # type: ignore[no-untyped-def]
        async with iommu.lock.irqsave():
            await lesson03.disable_dmar_iommu(self, iommu)

    refused(lesson03.WARN_AND_STOP, disable_dmar_iommu, "it takes &iommu->lock")


async def pgtable_walk(self, iommu, pfn, bus, devfn):  # type: ignore[no-untyped-def]
    async with iommu.lock.irqsave():
        await lesson04.pgtable_walk(self, iommu, pfn, bus, devfn)


async def pgtable_walk_that_allocates(self, iommu, pfn, bus, devfn):  # type: ignore[no-untyped-def]
    page = await self.alloc_pgtable_page(-1, "scratch")
    await lesson04.pgtable_walk(self, iommu, pfn, bus, devfn)
    if page is not None:
        await self.free_pgtable_page(page)


async def pgtable_walk_of_four_levels(self, iommu, pfn, bus, devfn):  # type: ignore[no-untyped-def]
    context = await self.iommu_context_addr(iommu, bus, devfn, False)
    if context is not None and await context.lo() & 1:
        await self.walk_and_print(self.phys_to_virt(await context.lo() & ~0xFFF), 4, pfn)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (pgtable_walk, "it takes &iommu->lock"),
        (pgtable_walk_that_allocates, "allocates 1 times; 0 is enough"),
        (pgtable_walk_of_four_levels, "tables of three levels"),
    ],
)
def test_04_a_lock_an_allocation_the_level_taken_for_four(answer: Any, why: str) -> None:
    """Section 2: 04 ask nobody."""
    refused(lesson04.ASK_NOBODY, answer, why)


def test_05_the_upper_halves_are_forgotten() -> None:
    """Section 2: 05 take it away first."""

    async def free_context_table(self, iommu):  # type: ignore[no-untyped-def]
        async with iommu.lock.irqsave():
            root, iommu.root_entry = iommu.root_entry, None
        if root is None:
            return
        for word in range(0, 512, 2):
            entry = await root.load(word)
            if entry & 1:
                await self.free_pgtable_page(self.phys_to_virt(entry & ~0xFFF))
        await self.free_pgtable_page(root)

    refused(lesson05.TAKE_IT_AWAY_FIRST, free_context_table, "not given back")


@pytest.mark.parametrize("given", [None, 0])
def test_06_it_returns_nothing_or_always_0(given: int | None) -> None:
    """Section 2: 06 switch ids."""

    async def switch_domain_id(self, old, new, iommu):  # type: ignore[no-untyped-def]
        async with iommu.lock:
            await self.drop_domain_id(old, iommu)
            await self.take_domain_id(new, iommu)
        return given

    refused(lesson06.SWITCH_IDS, switch_domain_id, f"it returns {given}")


def test_07_the_presence_test_is_outside_the_lock() -> None:
    """Section 2: 07 busy again."""

    async def intel_pasid_setup_second_level(self, iommu, domain, dev, pasid):  # type: ignore[no-untyped-def]
        if not self.ecap(iommu, defs.ECAP_SLTS):
            return -22
        pgd, agaw = await self.iommu_skip_agaw(domain, iommu)
        if pgd is None:
            return -22
        did = domain.iommu_did[iommu.seq_id]
        async with iommu.lock:
            pte = await self.intel_pasid_get_entry(dev, pasid)
        if pte is None:
            return -19
        if await pte.present():
            return -16
        async with iommu.lock:
            await pte.fill(self.second_level_words(iommu, domain, pgd, agaw, did))
        await self.pasid_flush_caches(iommu, pasid, did)
        return 0

    refused(lesson07.BUSY_AGAIN, intel_pasid_setup_second_level, "")


def test_right_answers_in_another_form_are_right() -> None:
    """Section 2, refused though right: acquire and release in place of a block, more than one region."""

    async def switch_domain_id(self, old, new, iommu):  # type: ignore[no-untyped-def]
        await iommu.lock.acquire()
        await self.drop_domain_id(old, iommu)
        error = await self.take_domain_id(new, iommu)
        await iommu.lock.release()
        return error

    async def free_context_table(self, iommu):  # type: ignore[no-untyped-def]
        async with iommu.lock.irqsave():
            root = iommu.root_entry
            iommu.root_entry = None
        if root is not None:
            found = [await root.load(word) for word in range(512)]
            for entry in found:
                if entry & 1:
                    await self.free_pgtable_page(self.phys_to_virt(entry & ~0xFFF))
            await self.free_pgtable_page(root)

    assert lesson06.SWITCH_IDS.seeded(0).check(switch_domain_id)
    assert lesson05.TAKE_IT_AWAY_FIRST.seeded(0).check(free_context_table)


def value(right: Any, **fields: Any) -> Exercise:
    return Exercise("it", lambda seed: "?", lambda seed: right, **fields)


@pytest.mark.parametrize(
    ("right", "given"),
    [
        ({"a b", "c"}, ["c", "a b"]),
        ({"a b", "c"}, ("A-B", "C")),
        ((1, 2), [1, 2]),
        ([1, 2], (1, 2)),
        ("second level", " Second-Level "),
        (17, "0x11"),
        (3000, "3,000 ns"),
        ((4, True), (4, "yes")),
    ],
)
def test_an_answer_is_read_as_it_was_meant(right: Any, given: Any) -> None:
    """Section 2, refused though right: a list for a tuple or set, other case or spelling."""
    assert value(right).check(given)


@pytest.mark.parametrize(
    ("right", "given", "said"),
    [
        ((4, True), (4, 1), "item 1: the answer is True or False; this is an int"),
        ([1, 2], {1, 2}, "the order matters here"),
        ({1, 2}, 1.5, "the answer is a set"),
        (5, "five", "the answer is a number; this is a str"),
    ],
)
def test_an_answer_of_another_kind_gets_one_sentence(right: Any, given: Any, said: str) -> None:
    """Section 2: `(4, True)` against `(4, 1)` was taken for equal; refused on purpose."""
    assert said in value(right).check(given).text


def test_a_slip_in_spelling_is_forgiven_where_the_words_are_known() -> None:
    """Section 2, refused though right: other spelling."""
    words = ("refused", "goes through")
    assert value("refused", words=lambda seed: words).check("refussed")
    assert not value("refused", words=lambda seed: words).check("goes throuh")
    assert not value("refused").check("refussed")


@pytest.mark.parametrize("guess", [6, "6", " 6 ", "0x6", 6.0])
def test_a_guess_is_read_as_a_person_types_it(guess: Any) -> None:
    assert predict("How many?", guess).check(6).word == "As predicted"


def test_a_guess_with_a_unit() -> None:
    assert predict("How long?", "3 µs", unit="ns").check(3000)
    assert predict("How long?", "3,000 NS", unit="ns").check(3000)
    assert predict("How long?", "About 1000 NS", options=["about 1000 ns", "not at all"]).check(
        "about 1000 ns"
    )
    assert not predict("How long?", "1000", unit="ns").check(3000)


def test_without_a_guess_nothing_is_told_but_on_demand() -> None:
    said = predict("How many?").check(6, "because")
    assert "6" not in repr(said)
    assert "because" not in repr(said)
    assert "<details><summary>Reveal</summary>It is 6.<br>because</details>" in said._repr_html_()


# -- a student's code ---------------------------------------------------------


def test_slips_are_named_and_cost_no_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    from vtdkit.lab.exercises import student

    monkeypatch.setattr(student, "PATIENCE", 0.5)

    def plain(self, old, new, iommu):  # type: ignore[no-untyped-def]
        return 0

    async def forgets_to_await(self, old, new, iommu):  # type: ignore[no-untyped-def]
        async with iommu.lock:
            self.drop_domain_id(old, iommu)
            return await self.take_domain_id(new, iommu)

    async def misspelt(self, old, new, iommu):  # type: ignore[no-untyped-def]
        async with iommu.lock:
            await self.drop_domain_idd(old, iommu)
            return await self.take_domain_id(new, iommu)

    async def never_ends(self, old, new, iommu):  # type: ignore[no-untyped-def]
        while True:
            pass

    async def awaits_for_ever(self, old, new, iommu):  # type: ignore[no-untyped-def]
        while True:
            await self.machine.work(1)

    async def says_what_to_do(self, old, new, iommu):  # type: ignore[no-untyped-def]
        return "give up one id, take another"

    exercise = lesson06.SWITCH_IDS.seeded(0)
    for answer, said in (
        (plain, "write `async def switch_domain_id`"),
        (forgets_to_await, "`self.drop_domain_id(old, iommu)` is never awaited"),
        (misspelt, "Did you mean"),
        (never_ends, "it does not end"),
        (awaits_for_ever, "it does not end"),
        (says_what_to_do, "not written yet"),
        (..., "no answer yet"),
    ):
        assert said in exercise.check(answer).text
    assert exercise.tries == 0


def test_what_fails_inside_is_shown_with_its_own_line() -> None:
    def helper(new: Any) -> Any:
        return {}[new]

    async def in_itself(self, old, new, iommu):  # type: ignore[no-untyped-def]
        async with iommu.lock:
            return [][new.id_that_is_not_there]

    async def in_a_helper(self, old, new, iommu):  # type: ignore[no-untyped-def]
        return helper(new)

    async def in_the_driver(self, old, new, iommu):  # type: ignore[no-untyped-def]
        return await self.take_domain_id(None, iommu)

    exercise = lesson06.SWITCH_IDS.seeded(0)
    said = exercise.check(in_itself).text
    assert "line 3 of your function, `return [][new.id_that_is_not_there]`, raises AttributeError" in said
    assert "line 2 of helper(), `return {}[new]`, raises KeyError" in exercise.check(in_a_helper).text
    said = exercise.check(in_the_driver).text
    assert "line 2 of your function, `return await self.take_domain_id(None, iommu)`, raises" in said


def test_what_never_ends_is_stopped_wherever_it_goes_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a scene, where only orders are tried, in the lesson's own judge; and whatever it catches."""
    from vtdkit.lab.exercises import student

    monkeypatch.setattr(student, "PATIENCE", 0.3)
    monkeypatch.setattr(student, "ASLEEP", 4)

    def swallows(read, table, iova):  # type: ignore[no-untyped-def]
        while True:
            try:
                sum(range(100))
            except Exception:
                continue

    async def sleeps(self, old, new, iommu):  # type: ignore[no-untyped-def]
        from time import sleep

        while True:
            sleep(0.05)

    exercise = lesson06.SWITCH_IDS.seeded(0)
    assert "it does not end" in lesson00.BE_THE_HARDWARE.seeded(0).check(swallows).text
    assert "it does not end" in exercise.check(sleeps).text

    def judge(seed: int, given: Any) -> None:
        while True:
            pass

    own = replace(exercise, judge=judge)
    monkeypatch.setattr(judge_module, "MANY_RUNS", 1)
    assert "it does not end" in own.check(lesson06.switch_domain_id).text
    assert exercise.tries == 0


@settings(deadline=None, max_examples=200)
@given(
    st.one_of(
        st.integers(-9, 9),
        st.booleans(),
        st.floats(-9, 9),
        st.sampled_from(["6", "yes", "6 ns", "a-b", "A B"]),
    ),
    st.one_of(
        st.integers(-9, 9),
        st.booleans(),
        st.floats(-9, 9),
        st.sampled_from(["6", "yes", "6 ns", "a-b", "A B"]),
    ),
    st.sampled_from(["", "ns", "CPUs"]),
)
def test_nobody_is_surprised_by_what_they_said(guess: Any, actual: Any, unit: str) -> None:
    said = predict("?", guess, unit=unit).check(actual)
    if said.word == "Surprise":
        mine, theirs = said.text.removeprefix("you said ").removesuffix(".").split(", it is ")
        assert mine != theirs


@pytest.mark.parametrize(
    ("guess", "actual", "unit"),
    [
        (6, "6", ""),
        ("6", 6, ""),
        (" 6 ", 6, "entries"),
        ("3000", 3000, "ns"),
        ("3000 ns", 3000, "ns"),
        (3000, 3000, "ns"),
        ("3 us", 3000, "ns"),
        ("3,000NS", 3000, "ns"),
        ("YES", True, ""),
        ("Not At All", "not at all", ""),
    ],
)
def test_a_guess_in_any_writing(guess: Any, actual: Any, unit: str) -> None:
    assert predict("How much?", guess, unit=unit).check(actual).word == "As predicted"
