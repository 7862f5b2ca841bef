"""Where DMA addresses come from, and who waits for them.

Claims 29 to 31.
"""

from __future__ import annotations

from .claim import Claim

CLAIMS: tuple[Claim, ...] = ()
