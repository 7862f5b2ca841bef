"""Which pages devices wrote, and who waits while one looks.

Claims 57 to 65.
"""

from __future__ import annotations

from .claim import Claim

CLAIMS: tuple[Claim, ...] = ()
