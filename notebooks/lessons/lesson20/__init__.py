"""Lesson 20: five calls for help. What is wrong, and what to answer: the exercises take both from the
machines of `calls`, not from a list.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.lesson.shown import Table, table
from vtdkit.vtd.requests import Fault, Translation, bdf

from .calls import firmware, misaligned, not_flushed, silent, snooped, wrong_base

#: what to answer, right first; the order in which they are shown depends on the seed
ADVICE: dict[str, tuple[str, ...]] = {
    "not flushed": (
        "your tables are right and the unit cannot see one entry: flush it after it is written (fixed in "
        "Linux 6.3)",
        "the entry is not present: write it again",
        "the unit is broken: switch remapping off",
    ),
    "misaligned": (
        "the mask is for an aligned range: widen it until the aligned range has all the pages (fixed in "
        "Linux 5.18)",
        "the unit forgets to invalidate: flush the whole domain, always",
        "the pages were never unmapped: clear their entries",
    ),
    "silent": (
        "the device is gone and its TLB is still on: do not invalidate it, or switch ATS off before the "
        "reset",
        "the queue is too short: make it longer",
        "the wait descriptor is wrong: send it again",
    ),
    "snooped": (
        "the unit has no snoop control: do not set SNP on it, and ask for coherency from none of its domains",
        "the page is not mapped: map it again",
        "the address is too wide for the unit: use a smaller DMA mask",
    ),
    "firmware": (
        "firmware names a unit that has no registers: ask for a firmware update; Linux says so and remaps "
        "nothing",
        "the checksum is wrong: boot with acpi=off",
        "the table is fine: the kernel is too old",
    ),
}


def advice(name: str, seed: int) -> list[str]:
    """The answers to choose from, in the order of a seed."""
    return random.Random(f"{name} {seed}").sample(ADVICE[name], len(ADVICE[name]))


def letter(name: str, seed: int) -> str:
    """The right one."""
    return "abc"[advice(name, seed).index(ADVICE[name][0])]


def shown(value: Any) -> str:
    """A number as hex, everything else as it is."""
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))})"
    return f"{value:#x}" if isinstance(value, int) else repr(value)


def _exercise(
    name: str, asks: str, finds: Callable[[int], Any], hints: Sequence[str], why: str, *, pick: str
) -> Exercise:
    """One call: what is wrong, and which of three answers to give."""

    def prompt(seed: int) -> str:
        choices = "\n".join(
            f"  {letter}) {text}" for letter, text in zip("abc", advice(name, seed), strict=True)
        )
        return f"{asks} And what would you answer?\n{choices}\nAnswer with a pair: ({pick}, 'a')."

    return Exercise(
        name, prompt, lambda seed: (finds(seed), letter(name, seed)), hints=hints, why=why, form=shown,
    )  # fmt: skip


FLUSHED = _exercise(
    "not flushed",
    "Which entry does the unit not see as the processor does? Give its address.",
    lambda seed: not_flushed(seed).forgotten,
    [
        "call.log shows what the processor sees; call.unit.walk(call.request) what the unit reads",
        "the unit's walk ends at one entry: its address stands in the walk",
    ],
    "The walk ends at an entry that is 0 in memory and present in the processor's cache. "
    "`call.memory.flush(address)` "
    "mends it; ECAP.SMPWC is 0, so the unit does not look into caches.",
    pick="address",
)
MISALIGNED = _exercise(
    "misaligned",
    "Which is the first page that the device still reaches?",
    lambda seed: misaligned(seed).reached()[0],
    [
        "call.read(page) is what the device is told; call.pages are the pages",
        "a mask AM covers 2^AM pages from an address whose lowest AM page bits are 0",
    ],
    "The unit ignores the low bits of the address: the range that it forgets begins below the first page, "
    "and ends "
    "before the last.",
    pick="address",
)
SILENT = _exercise(
    "silent",
    "Which device did not answer?",
    lambda seed: bdf(next(e.sid for e in silent(seed).endpoints.values() if e.inbox)),
    [
        "call.queue has the descriptors: whose TLBs were to be invalidated?",
        "call.config(device) is all ones for a device that is gone",
    ],
    "Two devices are gone. Of these, one has an invalidation in the queue.",
    pick="device",
)
SNOOPED = _exercise(
    "snooped",
    "What must the entry of the first page that is refused be?",
    lambda seed: snooped(seed).entry(snooped(seed).refused()[0]) & ~(1 << 11),
    [
        "call.refused() are the pages that do not work, call.entry(page) is an entry",
        "compare with an entry that works, bit by bit; ECAP.SC says whether SNP may be set",
    ],
    "Bit 11, SNP, is reserved in a unit without snoop control: the entry is refused with LSS.2, reason 0Ch.",
    pick="value",
)
FIRMWARE = _exercise(
    "firmware",
    "At which offset of the table is what is wrong?",
    lambda seed: wrong_base(firmware(seed)),
    [
        "vtdkit.explain(lesson.firmware(seed)) names the offset at which the structure begins",
        "a DRHD has its register base 8 bytes behind its beginning",
    ],
    "Eight bytes of 0 where the register base should be. Linux validates every DRHD before it uses any.",
    pick="offset",
)
progress, seed = of_lesson(globals())


def what_was_wrong() -> Table:
    """The five calls in one table: what was seen, what it was, what became of it."""
    return table(
        ["call", "what the log says", "what was wrong", "what became of it"],
        ("1", f"{_code(not_flushed().dma())}", "an entry was not flushed", "194b3348bdbb, 6.3"),
        ("2", "nothing", "a mask for an aligned range", "59bf3557cf2f, 5.18"),
        ("3", "time-out (ITE)", "a device was reset with its TLB on", "4fc82cd907ac, 6.9"),
        (
            "4",
            f"{_code(snooped().read(snooped().refused()[0]))}",
            "SNP without SC",
            "SNP is set only where SC is",
        ),
        ("5", "DMAR reported at address 0", "a unit without registers", "firmware"),
    )


def _code(answer: Translation | Fault) -> str:
    assert isinstance(answer, Fault)
    return f"reason {answer.code or 0:02X}h"
