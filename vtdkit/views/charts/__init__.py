"""Figures that do not move: the lock-order graph, throughput against CPUs.

`lockgraph_order` is the graph, `lockgraph_layout` where its boxes and arrows go, `lockgraph` the figure;
`scaling_lines` has the lines and ticks that `scaling` draws. `chart` draws shapes, by matplotlib or in SVG;
`spread` keeps names apart.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "chart": "Chart",
        "lockgraph": "lock_order_figure",
        "scaling": "scaling_figure ScalingPoint",
    },
)
