"""Allocation flags, those two that matter here. Mirrors include/linux/gfp_types.h."""

from __future__ import annotations

from enum import IntFlag


class GFP(IntFlag):
    """Allocation flags, the two bits that matter here: may the caller sleep, must the memory be cleared."""

    ATOMIC = 0
    MAY_SLEEP = 1
    ZERO = 2


GFP_ATOMIC = GFP.ATOMIC
GFP_KERNEL = GFP.MAY_SLEEP
GFP_ZERO = GFP.ZERO
