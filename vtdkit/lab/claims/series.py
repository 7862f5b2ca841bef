"""What the patches say of themselves: locks, lists, and what needs none.

Claims 1 to 11.
"""

from __future__ import annotations

from .claim import Claim

CLAIMS: tuple[Claim, ...] = ()
