"""Those who read tables while others free them: the dump, pfn_valid, capabilities, RCU.

Claims 15 to 22, 51 to 56, 69.
"""

from __future__ import annotations

from .claim import Claim

CLAIMS: tuple[Claim, ...] = ()
