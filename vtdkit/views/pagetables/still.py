"""The explorer without a browser: one walk as a table of HTML, for saved notebooks and for pages
that show no widgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vtdkit.views.shared.html import Html, join, still, table, tag
from vtdkit.vtd.requests import Fault, Translation, bdf, size_name
from vtdkit.vtd.walk.trace import Step, Walk

from .words import PURPOSE, sentence

_HEAD = ("table", "entry", "value", "what it says")


@dataclass(frozen=True, slots=True)
class Shown:
    """One side of a still: what the tables say, and what the device gets from the caches."""

    name: str
    walk: Walk
    device: Translation | Fault


def page_table_still(title: str, sides: Sequence[Shown]) -> Html:
    """A table of the entries of each walk, and its answer below."""
    parts = []
    for side in sides:
        if side.name:
            parts.append(tag("p", side.name, style="margin:6px 0 0;font-weight:600"))
        parts += [
            table(_HEAD, map(_row, side.walk.steps), mono=(1, 2)),
            tag("p", *_answer(side), style="margin:2px 0"),
        ]
    return still(title, *parts)


def _row(step: Step) -> tuple[str, str, str, str]:
    name = f"level {step.level}" if step.level else PURPOSE[step.structure.name][0].lower()
    if step.inner:
        name = f"(guest address) {name}"
    digits = 16 if step.structure.width <= 64 else 32
    low = step.raw & (1 << 128) - 1
    return name, str(step.index), f"{low:0{digits}x}", step.why


def _answer(side: Shown) -> tuple[Html | str, ...]:
    said: tuple[Html | str, ...] = (tag("strong", answer_text(side.walk.answer)),)
    if isinstance(side.walk.answer, Fault):
        said += (" ", sentence(side.walk.answer.label))
    if _differ(side.walk.answer, side.device):
        said += (
            tag("br"),
            tag("strong", "Stale: "),
            f"the caches still answer otherwise: {answer_text(side.device)}",
        )
    return (join(said),)


def _differ(one: Translation | Fault, other: Translation | Fault) -> bool:
    if isinstance(one, Translation) and isinstance(other, Translation):
        return (one.address, one.readable, one.writable) != (other.address, other.readable, other.writable)
    return bool(one) != bool(other)


def answer_text(answer: Translation | Fault) -> str:
    """One sentence on an answer."""
    request = answer.request
    who = f"{bdf(request.sid)} {'writes to' if request.writes else 'reads'} {request.address:#x}"
    if isinstance(answer, Fault):
        code = "no fault code" if answer.code is None else f"fault code {answer.code:X}h"
        return f"✗ {who}: refused, {code} ({answer.label}: {answer.name})."
    rights = {"rw": "read and write", "r-": "read only", "-w": "write only"}.get(
        answer.permissions, "no access"
    )
    if answer.path in ("off", "pass-through", "interrupt window"):
        return f"✓ {who}: {answer.path}, memory {answer.address:#x}."
    return f"✓ {who}: memory {answer.address:#x}, {size_name(answer.size)} page, {rights}."
