"""A lesson to begin from: what is measured in its scene, and its exercises. `make lesson` copies this file.

The scene stands in the notebook, where a reader can change it; what is here takes a run and says what came
of it. An exercise is declared once: its question, its answer, its hints.
"""

from __future__ import annotations

from vtdkit.kernel.record.units import duration
from vtdkit.lab.exercises.exercise import Exercise, of_lesson
from vtdkit.lab.lesson.base import Run

LOCK = "device_domain_lock"


def figures(run: Run) -> dict[str, str]:
    """The rows of the table before and after: how long each thread waits, how long the lock is held."""
    waits = {f"{thread} waits": duration(run.waited(thread)) for thread in run.results}
    return {**waits, "longest hold of the lock": duration(run.held(LOCK))}


ENTRY = Exercise(
    "entry",
    lambda seed: (
        f"Which entry of the last table does the page at {iova(seed):#x} have? Answer with a number."
    ),
    lambda seed: iova(seed) >> 12 & 511,
    hints=["A table has 512 entries, so nine bits of the address choose one; the lowest twelve bits stay."],
    why="Bits 12 to 20 of the address are the index into the last table.",
)


def iova(seed: int) -> int:
    """The address that the exercise asks about; another for each seed."""
    return 0x40000 + 4096 * (7 + 3 * seed)


progress, seed = of_lesson(globals())
