"""What watches a run: findings, lockdep, data races, leaks."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "checks": "CHECKERS",
        "findings": "Deadlock Finding Findings KernelBug Oops",
        "leaks": "Leak",
    },
)
