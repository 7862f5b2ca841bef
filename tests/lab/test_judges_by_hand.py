"""Answers made by hand that a judge took for right, or right ones that it refused (§2, as its kind).

Each is the reference solution with some text in another form; what `mutants` does by program is not repeated.
"""

from __future__ import annotations

import importlib
import inspect
import linecache
import textwrap
from typing import Any

import pytest

from vtdkit.lab.exercises.exercise import Exercise
from vtdkit.lab.exercises.judge import CodeExercise, version_with
from vtdkit.lab.exercises.prediction import predict
from vtdkit.lab.exercises.watched import observe

from .test_judges import ALL, LESSONS

EARLY = "    info = self.dev_iommu_priv_get(found)"
PUT = "    await self.bus.put(found)\n"
FLUSH = "    await self.pasid_flush_caches"
FILL = "await pte.fill(self.second_level_words(iommu, domain, pgd, agaw, did))"
UPWARDS = """words = self.second_level_words(iommu, domain, pgd, agaw, did)
        for number, word in enumerate(words):
            await pte.store(number, word | (not number))"""
COPY = "list(domain.devices.entries())"
LOCKED = "    async with self.device_domain_lock.irqsave():\n"
OFF, OUT = "        await self.iommu_disable_dev_iotlb(info)\n", "        await domain.devices.del_(info)\n"
LAST = "        await self.domain_detach"
CACHE = "    await self.domain_flush_cache(domain, 512)  # for units that do not see the CPU's caches\n"
WON = "        return found\n"
WARNING = '"domain_exit: devices are still attached"'

#: exercise, why; then what stands there and what is put in its place
WRONG: list[tuple[str, str, dict[str, str]]] = [
    ("00 BE_THE_HARDWARE", "bits 63:52 are no address", {"entry & ADDRESS": "entry & ~4095"}),
    ("00 BE_THE_HARDWARE", "an absent entry is followed", {"if not entry": "if shift == 12 and not entry"}),
    ("02 BY_ADDRESS", "only segment 0", {"pdev.segment": "0"}),
    ("02 BY_ADDRESS", "only device 0 of a bus", {"bus, devfn)\n    if": "bus, 0)\n    if"}),
    ("02 BY_ADDRESS", "asked after it was given back", {PUT: "", EARLY: PUT + EARLY}),
    (
        "03 WARN_AND_STOP",
        "a lock on the way to the hardware",
        {"    reserved =": "    async with iommu.register_lock.irqsave():\n        pass\n    reserved ="},
    ),
    (
        "03 WARN_AND_STOP",
        "waits for all readers",
        {"    reserved =": "    await self.machine.rcu.synchronize()\n    reserved ="},
    ),
    ("03 WARN_AND_STOP", "what was asked for", {"self.sm_supported(iommu)": "self.intel_iommu_sm"}),
    ("04 ASK_NOBODY", "bits 63:39 are cut off", {"dma_pte_addr(low)": "low & 0x7FFFFFF000"}),
    ("04 ASK_NOBODY", "only bus 0", {"iommu, bus, devfn": "iommu, 0, devfn"}),
    ("04 ASK_NOBODY", "bit 1 says no faults, please", {"low & defs.CONTEXT_PRESENT": "low & 3"}),
    ("04 ASK_NOBODY", "any entry that is not 0", {"low & defs.CONTEXT_PRESENT": "high"}),
    ("07 BUSY_AGAIN", "the first unit's number", {"[iommu.seq_id]": "[0]"}),
    ("05 TAKE_IT_AWAY_FIRST", "bits 63:32 are cut off", {"& ~0xFFF": "& 0xFFFFF000"}),
    (
        "07 BUSY_AGAIN",
        "the unit is told in caching mode only: others do not see the caches",
        {FLUSH: f"    if self.cap(iommu, defs.CAP_CACHING_MODE):\n    {FLUSH}"},
    ),
    ("07 BUSY_AGAIN", "the table of another width", {"domain, pgd,": "domain, domain.pgd,"}),
    ("07 BUSY_AGAIN", "present before it is whole", {FILL: UPWARDS}),
    ("08 NO_MORE_HANGING", "bit 1 says no faults, please", {"lo() & 1": "lo() & 3"}),
    ("08 NO_MORE_HANGING", "any entry that is not 0", {"context.lo() & 1": "context.lo()"}),
    (
        "08 NO_MORE_HANGING",
        "more than once",
        {"    async with": "    async with iommu.lock.irqsave():\n        pass\n    async with"},
    ),
    ("08 NO_MORE_HANGING", "never the upper half", {"bus, devfn,": "bus, devfn & 127,"}),
    ("09 WARN_AND_BE_SAFE", "walks on from what was deleted", {COPY: "domain.devices.entries()"}),
    (
        "10 EVERY_STEP_WORKS",
        "off the list, ATS on: unmap forgets it",
        {OFF: OUT + LOCKED + OFF, OUT + LAST: LAST},
    ),
    ("10 EVERY_STEP_WORKS", "off the list before ATS is off, at once", {OFF: OUT + OFF, OUT + LAST: LAST}),
    ("10 EVERY_STEP_WORKS", "off the list before the entry is cleared", {OFF: OFF + OUT, OUT + LAST: LAST}),
    ("10 EVERY_STEP_WORKS", "what was asked for", {"self.sm_supported(iommu)": "self.intel_iommu_sm"}),
    ("12 HOW_TO_TAKE", "one page only", {"(info, addr, mask)": "(info, addr, 0)"}),
    ("13 PUT_IT_IN", "another node", {"domain.nid": "0"}),
    ("13 PUT_IT_IN", "written again by a plain store", {WON: f"{WON}    await pte.store(value)\n"}),
    ("13 PUT_IT_IN", "written back too late", {CACHE: "", WON: WON + CACHE}),
    ("13 PUT_IT_IN", "the entry is not written back", {"(domain, 1)": "(domain, 0)"}),
    (
        "13 PUT_IT_IN",
        "may sleep",
        {'self.alloc_pgtable_page(domain.nid, "a table")': "self.machine.alloc_page(node=domain.nid)"},
    ),
    ("14 NEVER_ATTACHED", "only with ATS", {"if info.domain is not None": "if info.ats_enabled"}),
    (
        "14 NEVER_ATTACHED",
        "an oops is caught",
        {
            "    if info.domain is not None:\n": "    try:\n",
            "dev_info(dev)\n": "dev_info(dev)\n    except Exception:\n        pass\n",
        },
    ),
]
ROOT, AGAIN = "iommu.root_entry", "    async with iommu.lock.irqsave():\n"
WRONG += [
    ("18 WHEN_IT_MAY_GO", "one page of several", {"fast(pfn, pages)": "fast(pfn, 1)"}),
    ("19 LOOK_AND_CLEAR", "beyond the end of the range", {"min(after, end)": "after"}),
]
READERS = "    async with self.machine.rcu.read():\n"
RIGHT: list[tuple[str, str, dict[str, str]]] = [
    (
        "03 WARN_AND_STOP",
        "RCU readers: no lock, nobody waits",
        {"    reserved": f"{READERS}        pass\n    reserved"},
    ),
    ("04 ASK_NOBODY", "RCU readers: no lock, nobody waits", {"    context =": f"{READERS}        context ="}),
    ("04 ASK_NOBODY", "no unit walks more than five levels", {"high & 7": "high & 3"}),
    (
        "05 TAKE_IT_AWAY_FIRST",
        "two regions: a reader between them is done before a table goes",
        {"root, iommu.root_entry = iommu.root_entry, None": f"root = {ROOT}\n{AGAIN}        {ROOT} = None"},
    ),
    (
        "06 SWITCH_IDS",
        "acquire and release",
        {
            "    async with iommu.lock:\n": "    await iommu.lock.acquire()\n    if True:\n",
            "        return error": "    await iommu.lock.release()\n    return error",
        },
    ),
    ("08 NO_MORE_HANGING", "its callers have interrupts on", {"irqsave()": "irq()"}),
    (
        "09 WARN_AND_BE_SAFE",
        "the first one until there is none",
        {f"for info in {COPY}:": f"while not domain.devices.empty():\n        info = {COPY}[0]"},
    ),
    ("10 EVERY_STEP_WORKS", "a region for each", {OUT: f"{OUT}{LOCKED}"}),
    ("11 PUBLISH", "the order on the list does not matter", {"devices.add(": "devices.add_tail("}),
    ("11 PUBLISH", "nobody can see it yet", {"await info.write(domain=domain)": "info.domain = domain"}),
    (
        "12 HOW_TO_TAKE",
        "asks what is asked again",
        {"            await": "            if info.ats_enabled:\n                await"},
    ),
    ("09 WARN_AND_BE_SAFE", "a warning in other words", {WARNING: '"oh no"'}),
    (
        "13 PUT_IT_IN",
        "looks before it allocates",
        {"    page =": "    found = await pte.load()\n    if found:\n        return found\n    page ="},
    ),
]


def rewritten(which: str, changes: dict[str, str]) -> Any:
    """The reference solution of an exercise with other text in it."""
    ours = ALL[which][2].answer(0)
    text = textwrap.dedent(inspect.getsource(ours))
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    name = f"<by hand: {which} {sorted(changes.items())}>"
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
    names = dict(vars(importlib.import_module(ours.__module__)))
    exec(compile(text, name, "exec"), names)
    return names[ours.__name__]


@pytest.mark.parametrize(("which", "why", "changes"), WRONG)
def test_a_wrong_answer_is_refused(which: str, why: str, changes: dict[str, str]) -> None:
    assert not ALL[which][2].seeded(0).check(rewritten(which, changes)), why


@pytest.mark.parametrize(("which", "why", "changes"), RIGHT)
def test_a_right_answer_is_taken(which: str, why: str, changes: dict[str, str]) -> None:
    assert ALL[which][2].seeded(0).check(rewritten(which, changes)), why


@pytest.mark.parametrize("which", [key for key, found in ALL.items() if isinstance(found[2], CodeExercise)])
def test_every_scene_gets_as_far_as_the_function(which: str) -> None:
    """One that dies while it is prepared would take any answer."""
    exercise: Any = ALL[which][2]
    ours = exercise.answer(0)
    for scene in exercise.scenes:
        seen = observe(scene, version_with(exercise.base, ours), ours.__name__)
        assert not seen.died, scene
        assert len(seen.returns) >= 2, scene


@pytest.mark.parametrize(
    ("guess", "actual", "unit"),
    [
        ("6.", 6, "ns"),
        ("~6", 6, ""),
        ("about 3 µs.", 3000, "ns"),
        ("3\u202f000", 3000, "ns"),
        ("3 us?", 3000, "ns"),
    ],
)
def test_a_guess_that_is_not_sure_of_itself(guess: str, actual: int, unit: str) -> None:
    assert predict("How much?", guess, unit=unit).check(actual).word == "As predicted"


@pytest.mark.parametrize("guess", [" ", "?", " ? "])
def test_nothing_is_no_guess(guess: str) -> None:
    assert predict("How much?", guess).check(6).word == "No guess yet"
    assert predict("How much?", guess, options=[1, 6]).check(6).word == "No guess yet"


def test_a_long_guess_is_not_repeated_at_length() -> None:
    assert len(predict("How much?", "9" * 5000, unit="ns").check(6).text) < 200


class Agrees:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


ODD: list[Any] = [0, 1.5, True, "", "x" * 9999, b"x", (), (None, None), [None], [[1], [2]], set(), {1: 2}]
ODD += [{"a"}, 10**400, float("nan"), object(), int, Agrees(), (Agrees(), Agrees()), (1, [2]), ([1], {2})]
#: exercises whose answer is a value
VALUES = {
    f"{number} {name}": found
    for number in LESSONS
    for name, found in vars(importlib.import_module(f"lessons.lesson{number}")).items()
    if isinstance(found, Exercise) and not callable(found.answer(0))
}


@pytest.mark.parametrize("which", VALUES)
def test_whatever_is_answered_one_sentence_comes_back(which: str) -> None:
    """Also from what knows the usual mistakes: it is asked about answers of the right kind alone."""
    exercise = VALUES[which].seeded(0)
    for odd in ODD:
        said = exercise.check(odd)
        assert not said
        assert len(said.text) < 700
    np = pytest.importorskip("numpy")
    assert not exercise.check(np.array([1, 2]))
