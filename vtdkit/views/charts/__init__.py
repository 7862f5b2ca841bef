"""Charts, which do not move: the order of locks, throughput against CPUs, how long calls took.

`lockgraph_order` is the graph and `lockgraph` draws it; `scaling_lines` has the lines and ticks that
`scaling` draws, and `spread` keeps their names apart; `latency` is how long calls took. All are stills.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "latency": "latency_figure",
        "lockgraph": "lock_order_figure",
        "scaling": "scaling_figure",
    },
)
