"""What the caller found: faults that can only be seen by one who knows the very lock, not just its class.

Every method reports once for each class and place. `sites`, everywhere: where the context took what it holds,
outermost first, if the caller knows.
"""

from collections.abc import Hashable, Sequence

from .chain import Chain
from .classes import LockClass
from .findings import Attempt, Findings, make_report
from .keys import EXCLUSIVE, how
from .report import BAD_CONTENTION, BAD_UNLOCK, HELD_FREED, HELD_IN_USER_MODE, NOT_HELD, RCU_USAGE, STILL_HELD

Sites = Sequence[Hashable]


class Told:
    """The part of the validator that is told."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def assert_held(
        self,
        chain: Chain,
        lock: LockClass,
        site: Hashable,
        *,
        read: int | None = None,
        held: bool | None = None,
        sites: Sites = (),
    ) -> bool:
        """lockdep_assert_held(): is a lock of this class held, as `read` if given? Reports if not.

        `held`: the caller's own answer, better than ours because it knows the very lock. Returns the answer.
        """
        answer = chain.holds(lock, read) if held is None else held
        if not answer:
            manner = "" if read is None else f" ({how(read)})"
            self._tell(NOT_HELD, chain, lock, site, f"{lock.name}{manner} must be held and is not.", sites)
        return answer

    def bad_unlock(self, chain: Chain, lock: LockClass, site: Hashable, sites: Sites = ()) -> None:
        """A context lets go of a lock that it does not hold, or holds in another way."""
        self._tell(BAD_UNLOCK, chain, lock, site, f"{lock.name} is let go, but is not held like that.", sites)

    def bad_contention(self, chain: Chain, lock: LockClass, site: Hashable, sites: Sites = ()) -> None:
        """A context is said to wait for a lock that it never asked for."""
        self._tell(
            BAD_CONTENTION, chain, lock, site, f"{lock.name} is waited for but was not asked for.", sites
        )

    def held_lock_freed(self, chain: Chain, lock: LockClass, site: Hashable, sites: Sites = ()) -> None:
        """The memory of a held lock is given back."""
        self._tell(
            HELD_FREED, chain, lock, site, f"The memory of {lock.name} is freed while it is held.", sites
        )

    def init_of_held(self, chain: Chain, lock: LockClass, site: Hashable, sites: Sites = ()) -> None:
        """A held lock is initialised again.

        The kernel reports it as it does the freeing of one: the old lock is lost in both.
        """
        self._tell(HELD_FREED, chain, lock, site, f"{lock.name} is initialised while it is held.", sites)

    def still_has_locks_held(
        self, chain: Chain, site: Hashable, sites: Sites = (), *, to_user_space: bool = False
    ) -> bool:
        """Whether a context that ends (or goes back to user space) holds anything; reports it if so."""
        if chain.lock is None:
            return False
        kind = HELD_IN_USER_MODE if to_user_space else STILL_HELD
        line = f"The context {'returns to user space' if to_user_space else 'ends'} and still holds locks."
        self._tell(kind, chain, chain.lock, site, line, sites)
        return True

    def suspicious_rcu_usage(
        self, chain: Chain, lock: LockClass, site: Hashable, why: str, sites: Sites = ()
    ) -> None:
        """Something that RCU protects is used outside a section; `lock` is the class that marks sections."""
        self._tell(RCU_USAGE, chain, lock, site, why, sites)

    def _tell(
        self, kind: str, chain: Chain, lock: LockClass, site: Hashable, line: str, sites: Sites
    ) -> None:
        attempt = Attempt(chain, None, lock, EXCLUSIVE, False, None, site, sites)
        lines = [f"At {site}, in a {chain.context.name} context:", line]
        self._findings.once((kind, lock.id, line, site), lambda: make_report(kind, attempt, lines))
