"""What an explored program touches: names for locations, and which of them are shared.

A location is a lock, a word of a page, the life of a page, a field, an atomic ... It is known by a number
that is made from its name alone, and its name says what made it, not when, so it is the same in every
execution, process and run.

Only operations on *shared* locations need a scheduling point: those that two explored threads touch, one of
them changing it. Which those are is found by running: an exploration begins with the locations found so far,
and when an execution turns out to share another one, `Grew` is raised and the exploration begins anew with
it. When one goes through to its end without, no execution has a conflict outside the set: up to the first
such conflict an execution would be one of those explored.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from hashlib import blake2b

READ, WRITE, ACQUIRE, RELEASE, SHARED_ACQUIRE, SHARED_RELEASE, WAIT = range(7)
COUNT = SHARED_RELEASE  # one more or one less: two who count are in no order, who looks is
HOW = READ, WRITE, WRITE, WRITE, WRITE, COUNT, READ  # kind → does it look, change, or count?
Access = tuple[int, int]
Name = tuple[int, ...]
LIFE = 512  # offset of the location that stands for a page's being allocated
SPAN = 1024  # a page needs 513 numbers in a row


class Grew(Exception):
    """An execution shared locations that were not known to be shared: begin anew with `Locations(shared)`."""

    def __init__(self, shared: frozenset[int]) -> None:
        super().__init__(shared)
        self.shared = shared


class Locations:
    """The numbers of all locations, and what is known of who touches them.

    Guards: belongs to one `MachineSystem`; kept over all executions.
    """

    def __init__(self, shared: Iterable[int] = ()) -> None:
        self.known: dict[Hashable, int] = {}
        self.shared = set(shared)
        self.grew = False
        self.everywhere = False  # does every thread stop wherever others could come in?
        self.patient = False  # does a thread that spins go on to see whether it would give up?
        self.guards: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}  # see `sections`
        # fields that race; field → what has to be shared if it does: see `hurries`
        self.raced: set[int] = set()
        self.late: dict[int, set[int]] = {}
        # location → (who touched it so far, None if several did in one such way; how: see `note`)
        self.users: dict[int, tuple[Name | None, int]] = {}

    def number(self, name: Hashable) -> int:
        """The number of the location called `name`, and the first of `SPAN` if it is several."""
        number = self.known.get(name)
        if number is None:
            digest = blake2b(repr(name).encode(), digest_size=8).digest()
            number = self.known[name] = (int.from_bytes(digest, "big") >> 2) // SPAN * SPAN
        return number

    def note(self, who: Name, location: int, kind: int) -> bool:
        """`who` touches a location; is it shared? It is once two have, unless both only look, or both
        count."""
        if location in self.shared:
            return True
        how = HOW[kind]
        user, known = self.users.get(location) or (None, None)
        if user == who and known in (how, WRITE):
            return False  # nothing new, as nearly always
        if known is None:
            user, known = who, how
        if known != how:
            how = WRITE
        if user != who:
            if how == WRITE:
                return self.share(location)
            who = None  # type: ignore[assignment]
        self.users[location] = (who, how)
        return False

    def share(self, location: int) -> bool:
        """From now on a location is shared."""
        if location not in self.shared:
            self.shared.add(location)
            self.grew = True
        return True

    def ends(self, life: int, who: Name) -> None:
        """`who` ends a life that others look at."""
        mine = self.number(("ended", life, who))
        if life in self.shared and mine not in self.shared:
            if self.number(("ended", life)) in self.shared:
                self.share(self.number(("ended", life, "by several")))
            self.share(self.number(("ended", life)))
            self.share(mine)

    def ended(self, life: int, by_others_than: Name) -> bool:
        """Was it seen to be ended by somebody else?"""
        marks = (), ("by several",), (by_others_than,)
        some, several, mine = (self.number(("ended", life, *mark)) in self.shared for mark in marks)
        return several or (some and not mine)

    def hurries(self, field: int, moment: int) -> None:
        """A plain access was made after others could have come in. If nothing orders it with theirs, its
        thread has to stop at such moments.
        """
        self.late.setdefault(field, set()).add(moment)
        if field in self.raced:
            self.share(moment)

    def races(self, field: int) -> None:
        """Nothing orders two accesses of a field."""
        self.raced.add(field)
        for moment in self.late.get(field, ()):
            self.share(moment)

    def gate(self, cpu: int, kind: str) -> int:
        """The location that says whether threads of this kind can run on this CPU now."""
        return self.number(("gate", cpu, kind))
