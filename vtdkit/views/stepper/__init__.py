"""The interleaving stepper: one schedule, step by step.

`widget` is the class, `record` what the browser gets and what is said of a position, `still` draws it. In the
browser: `stepper.js` over `stepper_model.js`, which says the same words.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "widget": "Stepper",
    },
)
