"""The record of the patch view: a patch function by function, the locks measured in each.

A pure function of a `PatchInfo` and of what the caller measured.
"""

from __future__ import annotations

import re
import sys

from vtdkit.series.patch import Change, PatchInfo
from vtdkit.views.shared.record import Record

from .code import coloured, side_by_side, words
from .locks import Locks


def patch_record(patch: PatchInfo, before: Locks | None, after: Locks | None) -> Record:
    """All that is shown. Raises ValueError for a patch that changes nothing."""
    changes = patch.changes
    if not changes:
        raise ValueError(
            f"{patch.title!r} is where the series starts and changes nothing; take SERIES[1] or later"
        )
    added, gone = patch.diffstat
    facts = (
        ("kernel file", files_of(patch)),
        ("posted", patch.posted),
        ("commit", patch.commit),
        ("what became of it", patch.fate),
    )
    return {
        "title": f"{name_of(patch)}: {patch.title.removeprefix('iommu/vt-d: ')}",
        "claim": f"{patch.claim[0].upper()}{patch.claim[1:]}.",
        "facts": [fact for fact in facts if fact[1]],
        "added": added,
        "gone": gone,
        "functions": [_function(change, before, after) for change in changes.values()],
        "measured": [before is not None, after is not None],
    }


def name_of(patch: PatchInfo) -> str:
    """Patch 03, or for what was merged, Mainline 3."""
    ours = re.search(r"\.p\d\d_\w+$", patch.driver.__module__)
    return f"Patch {patch.number:02}" if ours else f"Mainline {patch.number}"


def files_of(patch: PatchInfo) -> str:
    """The kernel's files a patch changed, as its module names them; empty for a commit whose
    module does not say.
    """
    files = r"drivers/[\w/.-]+?\.[ch](?:(?:, | and )[\w-]+\.[ch])*"
    found = re.search(files, sys.modules[patch.driver.__module__].__doc__ or "")
    return found.group() if found else ""


def _function(change: Change, before: Locks | None, after: Locks | None) -> Record:
    rows = side_by_side(change.before, change.after)
    kind = "added" if not change.before else "removed" if not change.after else "changed"
    # where declarations of locks and lists stand, which in C are part of no function
    name = "declarations" if change.function == "init_locks" else change.function
    return {
        "name": name,
        "kind": kind,
        "added": sum(after >= 0 and not same for _, after, same in rows),
        "gone": sum(before >= 0 and not same for before, _, same in rows),
        "before": coloured(change.before),
        "after": coloured(change.after),
        "rows": [[*places, int(same)] for *places, same in rows],
        "words": [sorted(words(change.before)), sorted(words(change.after))],
        "locks": [_locks(before, change.function), _locks(after, change.function)],
    }


def _locks(measured: Locks | None, function: str) -> list[Record]:
    """The locks of one function: each lock and way of taking it once."""
    groups: dict[tuple[str, str], list[int]] = {}
    for lock, how, held in (measured or {}).get(function, ()):
        groups.setdefault((lock, how), []).append(held)
    return [
        {"lock": lock, "how": how, "times": len(held), "longest": max(held), "total": sum(held)}
        for (lock, how), held in groups.items()
    ]
