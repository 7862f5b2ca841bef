"""All claims of the thread, by number, and their verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor

from . import addresses, dirty, readers, series, tables, users
from .claim import Claim, Verdict

CLAIMS: dict[int, Claim] = {
    claim.number: claim
    for claim in sorted(
        [
            *series.CLAIMS,
            *tables.CLAIMS,
            *readers.CLAIMS,
            *users.CLAIMS,
            *addresses.CLAIMS,
            *dirty.CLAIMS,
        ],
        key=lambda claim: claim.number,
    )
}


def claims(numbers: Iterable[int] = ()) -> list[Claim]:
    """The claims with these numbers, in their order; all if none. KeyError says which there is not."""
    wanted = list(numbers) or list(CLAIMS)
    for number in wanted:
        if number not in CLAIMS:
            raise KeyError(f"there is no claim {number}; the thread has 69")
    return [CLAIMS[number] for number in sorted(set(wanted))]


def _verdict(number: int) -> Verdict:
    return CLAIMS[number].verdict()


def verdicts(numbers: Iterable[int] = (), executor: Executor | None = None) -> list[Verdict]:
    """Run them; `executor` is anything with `map` of `concurrent.futures`."""
    run = executor.map if executor else map
    return list(run(_verdict, [claim.number for claim in claims(numbers)]))
