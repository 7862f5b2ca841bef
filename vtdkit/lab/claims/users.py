"""Who calls map and unmap at once, and by which rule: VFIO, iommufd, the DMA API.

Claims 23 to 28, 32 to 37, 66 to 68.
"""

from __future__ import annotations

from .claim import Claim

CLAIMS: tuple[Claim, ...] = ()
