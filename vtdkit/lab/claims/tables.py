"""Entries and tables that nobody locks: insert, overlap, partial unmaps, three cases of freeing.

Claims 12 to 14, 38 to 50.
"""

from __future__ import annotations

from .claim import Claim

CLAIMS: tuple[Claim, ...] = ()
