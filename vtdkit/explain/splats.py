"""Reports of the kernel's own checkers, where the driver is in them: lockdep, KASAN, KCSAN, sleeping in
atomic context, soft and hard lockups, stalls, oopses.

Locks and functions are collected from the lines after the headline. A report is told if one of them is the
driver's. The scenario that is alike is found by the table of defects that the kit's own findings are
explained with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from vtdkit.lab.findings.defects import DEFECTS, Defect
from vtdkit.lab.scenarios.catalogue import SCENARIOS

from .causes import lesson_of
from .formats import Format, Group, Text, either, fields, pattern
from .lines import echo
from .messages import HEADLINES, WAITS
from .report import Piece

_SHOWN = 10
_DRIVER = re.compile(
    r"iommu|dmar|domain_context|qi_|device_domain|pasid|iova|fq_flush|pgtable_walk|intel_ir|modify_irte"
    r"|dma_pte|domain->|vtd_|intel_svm|prq_event|dev_iotlb|cache_tag|domain_mapping|irq_remap"
    r"|\b_*domain_(?:remove_dev|flush|exit|unmap|update_iommu|attach_iommu|detach_iommu|pfn|setup_first)"
)


def plain_lock(name: str) -> str:
    """A lock's class without what lockdep wraps it in: `&(&iommu->lock)->rlock` is `&iommu->lock`."""
    inner = re.fullmatch(r"&\((?P<name>&[^()]{1,60})\)->\w{1,20}", name)
    return inner["name"] if inner else re.sub(r"#\d{1,3}(?:/\d)?$", "", name)


@cache
def _candidates(kind: str) -> tuple[tuple[Defect, str], ...]:
    """Known defects of a kind whose place says something, each with a scenario that shows it."""
    return tuple(
        (defect, next(name for name in SCENARIOS if re.fullmatch(defect.scenario, name)))
        for defect in DEFECTS
        if defect.real
        and re.fullmatch(defect.kind, kind)
        and not re.fullmatch(defect.where, "somewhere else")
    )


def alike(kind: str, locks: list[str], functions: list[str]) -> tuple[Defect, str] | None:
    """The known defect that is most alike, and a scenario that shows it."""
    places = [place for place in (" -> ".join(locks), *locks, *functions) if place]
    fits = (pair for place in places for pair in _candidates(kind) if re.fullmatch(pair[0].where, place))
    return next(fits, None)


def _report(group: Group, text: Text) -> Iterator[Piece]:
    """A report, if the driver is in it."""
    head = group.first
    rows = [*fields(group.format.row, head.get("rest", "")), *(row for _, row in group.rows[1:])]
    locks = list(dict.fromkeys(plain_lock(row["lock"]) for row in rows if "lock" in row))[:64]
    functions = list(dict.fromkeys(row["function"].split(".")[0] for row in rows if "function" in row))[:256]
    title = echo(head["head"] + head.get("rest", "")).removesuffix(" ]")
    if not any(map(_DRIVER.search, (title, *(value for row in rows for value in row.values())))):
        return
    kind, means = HEADLINES[head["head"]]
    ours = [name for name in functions if _DRIVER.search(name)] or functions
    facts = [("locks", ", ".join(map(echo, locks[:_SHOWN])))] if locks else []
    facts += [("order", f"{locks[1]} and {locks[0]}")] if len(locks) > 1 and "ock" in head["head"] else []
    facts.append(("functions", ", ".join(ours[:_SHOWN]) or "none in the text"))
    found = alike(kind, locks, functions)
    cause = WAITS.get(kind, "") if "qi_submit_sync" in functions else ""
    if found:
        facts.append(
            ("alike", f"scenario {found[1]!r} (defect {found[0].name}); known from: {found[0].source}")
        )
    lesson = next((number for lock in locks if (number := lesson_of(lock))), 14)
    lesson = 20 if kind in WAITS else 8 if "irq" in kind or "inconsistent" in kind else lesson
    yield group.piece(
        title, *facts, count=1, means=means, cause=cause or (found[0].about if found else ""), lesson=lesson
    )


KIND = "kernel report"
FORMATS = (
    Format(
        KIND,
        "",
        pattern(rf"(?P<head>{either(HEADLINES)})(?P<rest>.{{0,80}})"),
        _report,
        gate=either(HEADLINES),
        row=pattern(
            r"\((?P<lock>[&\w(][^(){}]{0,60}(?:\([^(){}]{0,40}\)[^(){}]{0,30})?)\)\{[^}]{0,12}\}"
            r"|lock\((?P<lock_>[&\w(][\w&>.()# /-]{0,60})\);"
            r"|\b(?P<function>[A-Za-z_][\w.]{2,60})\+0x[\da-f]{1,6}"
            r"|(?P<title>drivers/iommu/\S{1,40}|but task is already|trying to acquire"
            r"|state of lock|another, |Call Trace|DEADLOCK"
            r"|CPU0"
            r"|----|====|lock ordering|unsafe locking|dependency chain|might help us|Not tainted|Tainted: )"
        ),
    ),
)
