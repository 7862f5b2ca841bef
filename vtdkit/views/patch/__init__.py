"""The patch view: what a patch changed, function by function.

`widget` is the class, `record` what it shows, over `code` (source in colours, two versions side by side) and
`locks` (which locks a run took in which function); `still` draws it, `patch.js` in the browser.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "locks": "locks_taken",
        "widget": "PatchView",
    },
)
