"""fs_reclaim: the three cases of the kernel's self-test, and the mistake it is for."""

import pytest

from vtdkit.kernel.checkers.lockdep import report as kinds
from vtdkit.kernel.checkers.lockdep.context import Context
from vtdkit.kernel.checkers.lockdep.reclaim import FsReclaim, needs_reclaim
from vtdkit.kernel.checkers.lockdep.report import Report
from vtdkit.kernel.checkers.lockdep.validator import Lockdep

KERNEL = {"direct_reclaim": True, "fs": True}
NOFS = {"direct_reclaim": True, "fs": False}


@pytest.mark.parametrize(
    ("flags", "nofs_scope", "found"),
    [(NOFS, False, []), (KERNEL, False, [kinds.RECURSION]), (KERNEL, True, [])],
    ids=["correct nesting", "wrong nesting", "protected nesting"],
)
def test_an_allocation_inside_reclaim_must_not_enter_file_systems(
    flags: dict[str, bool], nofs_scope: bool, found: list[str]
) -> None:
    reports: list[Report] = []
    lockdep = Lockdep(reports.append)
    reclaim, task = FsReclaim(lockdep), Context(lockdep)
    reclaim.acquire(task, "reclaim")
    if needs_reclaim(**flags, nofs_scope=nofs_scope):
        reclaim.might_alloc(task, "kmalloc")
    reclaim.release(task, "reclaim")
    assert [report.kind for report in reports] == found


def test_only_an_allocation_that_may_wait_and_enter_file_systems_needs_reclaim() -> None:
    assert needs_reclaim(**KERNEL)
    assert not needs_reclaim(**NOFS)
    assert not needs_reclaim(direct_reclaim=False, fs=False)
    assert not needs_reclaim(**KERNEL, memalloc=True)


def test_allocating_under_a_lock_that_reclaim_takes_is_a_circle() -> None:
    reports: list[Report] = []
    lockdep = Lockdep(reports.append)
    reclaim, task = FsReclaim(lockdep), Context(lockdep)
    inode = lockdep.lock_class("inode lock", kind="mutex").key()
    reclaim.acquire(task, "shrink")
    task.take(inode, "evict")
    task.drop(inode, "evict")
    reclaim.release(task, "shrink")
    task.take(inode, "write")
    reclaim.might_alloc(task, "kmalloc")
    (found,) = reports
    assert found.kind == kinds.CIRCULAR
    assert found.classes == ("fs_reclaim", "inode lock")
    assert found.sites == ("kmalloc", "evict", "write")
