"""The record of the interleaving stepper: `Steps` as JSON, and what is said at a step.

Positions count steps done: at position 0 nobody has moved, at position k the k-th step is over. The browser
says the same words (`stepper_model.js`); tests hold the two together.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from vtdkit.lab.steps.schedule import DONE, WAITING, Steps
from vtdkit.vtd.plain import told

MOST_COLUMNS = 4
"""Threads shown with their source; if there are more, those that move most."""


def stepper_record(steps: Steps) -> dict[str, Any]:
    """Everything the browser needs; values that repeat are listed once."""
    texts: dict[str, int] = {}
    rows = [
        [
            step.thread,
            step.did,
            list(step.stands),
            [texts.setdefault(value, len(texts)) for value in step.values],
            list(step.freed),
        ]
        for step in steps.steps
    ]
    return {
        "title": steps.title,
        "schedule": steps.schedule,
        "threads": list(steps.threads),
        "columns": columns(steps),
        "sources": [[source.name, source.file, source.first, list(source.lines)] for source in steps.sources],
        "stands": [
            [
                stand.function,
                stand.line,
                stand.next,
                stand.state,
                list(stand.held),
                list(stand.path),
                list(stand.ran),
            ]
            for stand in steps.stands
        ],
        "words": list(steps.words),
        "texts": list(texts),
        "steps": rows,
        "findings": [
            [found.step, found.title, found.text, [list(place) for place in found.places]]
            for found in steps.findings
        ],
        "inevitable": steps.inevitable,
        "how": steps.how,
        "outcome": steps.outcome,
    }


def columns(steps: Steps) -> list[int]:
    """The threads that get a column, in order."""
    moves = Counter(step.thread for step in steps.steps[1:])
    return sorted(sorted(range(len(steps.threads)), key=lambda thread: -moves[thread])[:MOST_COLUMNS])


def says(steps: Steps, at: int) -> str:
    """One line on a position: what just happened, what comes next, what was found."""
    last, done = len(steps), steps.steps[at]
    parts = told(
        (True, f"Step {at} of {last}"),
        (at, f"{steps.threads[done.thread]} did: {done.did}"),
        (done.freed, f"Freed: {', '.join(done.freed)}"),
        *((found.step == at > 0, f"FOUND: {found.title}") for found in steps.findings),
        (at == steps.inevitable, "From here it must go wrong"),
        *((True, f"Next: {steps.threads[s.thread]} will {s.did}") for s in steps.steps[at + 1 : at + 2]),
        (at == last, f"The end; what came of it: {steps.outcome}"),
    )
    return ". ".join(parts) + "."


def states(steps: Steps, at: int) -> list[str]:
    """For each thread, what it is up to at a position: `moves next`, `could move`, why it waits, or
    that it has ended.
    """
    mover = steps.steps[at + 1].thread if at < len(steps) else -1
    stands = [steps.stand(at, thread) for thread in range(len(steps.threads))]
    ready = ["could move" if s.state not in (WAITING, DONE) and s.function >= 0 else s.next for s in stands]
    return ["moves next" if thread == mover else text for thread, text in enumerate(ready)]
