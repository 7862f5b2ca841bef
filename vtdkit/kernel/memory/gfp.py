"""Allocation flags, those two that matter here: may the caller sleep. (Memory is always cleared.) Mirrors
include/linux/gfp_types.h.
"""

from __future__ import annotations

GFP = int
GFP_ATOMIC: GFP = 0
GFP_KERNEL: GFP = 1  #: may sleep
