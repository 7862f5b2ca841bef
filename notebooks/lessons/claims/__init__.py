"""The claims of the thread of May and June 2022, each with its verdict.

`claim.py` says what a claim and a verdict are, `catalogue.py` has all of them, `report.py` is the verb
`claims`. The claims and their experiments stand by theme: `series.py` what the patches say of themselves,
`tables.py` entries and tables that nobody locks, `readers.py` those who read meanwhile, `users.py` who calls,
`addresses.py` where addresses come from, `dirty.py` which pages were written.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {"catalogue": "CLAIMS claims verdicts", "claim": "Claim Measured Verdict"},
)
