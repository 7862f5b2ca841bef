"""Times drawn from distributions, for loads that are held against theory: each has a `mean`, and is called
with a stream of random numbers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same."""

    mean: int

    def __call__(self, stream: random.Random) -> int:
        return self.mean


@dataclass(frozen=True, slots=True)
class Exponential:
    """Without memory, as arrivals from many independent sources are; rounded to whole nanoseconds."""

    mean: float

    def __call__(self, stream: random.Random) -> int:
        return round(stream.expovariate(1 / self.mean))


Times = Constant | Exponential
