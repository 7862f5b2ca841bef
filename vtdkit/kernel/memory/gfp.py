"""Allocation flags, those two that matter here: may the caller sleep, must the memory be cleared. Mirrors
include/linux/gfp_types.h.
"""

from __future__ import annotations

GFP = int
GFP_ATOMIC: GFP = 0
GFP_KERNEL: GFP = 1  #: may sleep
GFP_ZERO: GFP = 2  #: memory is always cleared here
