"""The lock timeline: what each CPU did, who held and who waited.

`widget` is the class, `fold` makes a timeline of a trace, `layout` says what it shows at an instant and where
bars go, `record` packs it for the browser, `still` draws it. In the browser: `timeline.js` (keys and tables),
`timeline_draw.js` (lanes), `timeline_model.js` (the same answers as `layout`).
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "widget": "LockTimeline",
    },
)
