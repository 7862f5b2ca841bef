"""Figures that do not move: the lock-order graph, throughput against CPUs."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "lockgraph": "lock_order_figure",
        "scaling": "scaling_figure ScalingPoint",
    },
)
