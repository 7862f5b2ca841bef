"""The lock validator; see README.md here. `validator` has the rules for the caller, `chain` the hot path."""

from vtdkit.kernel.lockdep.chain import CONTEXTS, Chain
from vtdkit.kernel.lockdep.classes import KINDS, LockClass, WaitType
from vtdkit.kernel.lockdep.context import Context
from vtdkit.kernel.lockdep.keys import EXCLUSIVE, HARDIRQS_OFF, READ, RECURSIVE, SOFTIRQS_OFF, queued_read
from vtdkit.kernel.lockdep.report import Held, Link, Report
from vtdkit.kernel.lockdep.validator import ClassState, Dependency, Lockdep

__all__ = [
    "CONTEXTS",
    "EXCLUSIVE",
    "HARDIRQS_OFF",
    "KINDS",
    "READ",
    "RECURSIVE",
    "SOFTIRQS_OFF",
    "Chain",
    "ClassState",
    "Context",
    "Dependency",
    "Held",
    "Link",
    "LockClass",
    "Lockdep",
    "Report",
    "WaitType",
    "queued_read",
]
