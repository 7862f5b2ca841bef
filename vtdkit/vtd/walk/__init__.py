"""The translation algorithm: from a request through root, context, PASID and page tables to an answer.

engine.py        the algorithm, start to end; everything below is a step of it
legacy.py        root and context table
scalable.py      root, context, PASID directory and PASID table
stage.py         the page walk, one for both stages, and `cell`, its verdict on a single entry
first_stage.py, second_stage.py
                 what an entry of each stage says and what is wrong with it; nesting
ats.py           what a translation request is told
job.py           one request on its way, and how it is refused
rules.py, space.py, trace.py
                 checks worked out beforehand; what a page walk deals in; a walk as a record
many.py          a million addresses at once (numpy)
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "job": "Access",
        "trace": "Step Walk",
    },
)
