"""The rules of interrupts.

A class is used inside them or held with them on, never both; and none that is held with them on is taken
under one that is used inside.

Mirrors mark_lock(), mark_lock_irq(), check_irq_usage() and mark_held_locks() in kernel/locking/lockdep.c. The
usage bits are explained in `usage`.
"""

from . import explain
from .classes import LockClass
from .findings import Attempt, Findings
from .graph import Match, Path, find
from .keys import EXCLUSIVE, HARDIRQS_OFF, RECURSIVE, SOFTIRQS_OFF
from .report import INCONSISTENT, INVERSION, Link
from .usage import (
    ENABLED,
    HARD_STATE,
    NAMES,
    READER,
    SOFT,
    SOFT_STATE,
    STATES,
    USED,
    first_bit,
    opposites,
    visible,
)

_EITHER = 0b11  # writer and reader


def _uses(mask: int) -> Match:
    """Matches a class that has a usage bit of `mask`, as far as the path lets it count."""
    return lambda here, weak: bool(visible(here.usage & mask, weak))


class IrqRules(Findings):
    """Marks classes and checks what a new mark, or a new edge, brings together.

    `_used` has every usage bit that any class ever got: nothing is searched for that nobody has.
    """

    _used = 0

    def _mark_taken(self, attempt: Attempt, irqstate: int) -> None:
        """The marks of a lock being taken.

        A trylock cannot wait, so it is not marked as used inside an interrupt.
        """
        reader = READER if attempt.read != EXCLUSIVE else 0
        if attempt.lock.kind.checked:
            if (irq := attempt.chain.context.irq) is not None and not attempt.trylock:
                self._mark(attempt, irq | reader)
            self._mark_enabled(attempt, irqstate)
        self._mark(attempt, USED | reader)

    def _mark_enabled(self, attempt: Attempt, irqstate: int) -> None:
        """The marks of a lock that is held with these interrupts on.

        Soft interrupts cannot run while hard ones are off.
        """
        if irqstate & HARDIRQS_OFF:
            return
        reader = READER if attempt.read != EXCLUSIVE else 0
        self._mark(attempt, HARD_STATE | ENABLED | reader)
        if not irqstate & SOFTIRQS_OFF:
            self._mark(attempt, SOFT_STATE | ENABLED | reader)

    def _check_edge(self, attempt: Attempt, prev: LockClass, prev_read: int, new: Link) -> None:
        """Does the edge `prev -> attempt.lock` complete a path from a safe class to an unsafe one?"""
        for state in STATES:
            safe, unsafe = _EITHER << state, _EITHER << (state | ENABLED)
            if not (self._used & safe and self._used & unsafe):
                continue
            before = find(prev, prev_read != EXCLUSIVE, _uses(safe), backward=True, locks_only=True)
            if before is None:
                continue
            after = find(attempt.lock, attempt.read == RECURSIVE, _uses(unsafe), locks_only=True)
            if after is not None:
                self._report_edge(attempt, state, before, new, after)

    def _report_edge(self, attempt: Attempt, state: int, before: Path, new: Link, after: Path) -> None:
        safe = _end(before.end, _EITHER << state)
        unsafe = _end(after.end, _EITHER << (state | ENABLED))
        path = (*before.links, new, *after.links)
        kind = safe.usage.removeprefix("IN-").removesuffix("-W").replace("-R", "-READ")
        self._once(
            ("irq order", state, new.prev, new.next),
            f"{kind}-safe -> {kind}-unsafe lock order detected",
            attempt,
            [
                f"{explain.opening(attempt)},",
                f"while it holds {new.prev}. The new order {new.prev} -> {new.next} joins safe to unsafe:",
                *explain.irq_path(safe, path, unsafe, bool(state & SOFT)),
            ],
            classes=(safe.lock, unsafe.lock),
            sites=(safe.site, unsafe.site),
            usage=(safe.usage, unsafe.usage),
            cycle=path,
        )

    def _mark(self, attempt: Attempt, bit: int) -> None:
        lock = attempt.lock
        if lock.usage >> bit & 1:
            return
        lock.usage |= 1 << bit
        lock.usage_sites[bit] = attempt.site
        self._used |= 1 << bit
        if bit < USED and self._used & opposites(bit):
            self._check_inversion(attempt, bit, self._check_consistent(attempt, bit))

    def _check_consistent(self, attempt: Attempt, bit: int) -> bool:
        """Whether the class itself is now both safe and unsafe. Two readers get on with each other."""
        contrary = attempt.lock.usage & opposites(bit)
        if bit & READER:
            contrary = visible(contrary, True)
        if contrary:
            earlier = first_bit(contrary)
            site, usage = attempt.lock.usage_sites[earlier], (NAMES[earlier], NAMES[bit])
            lines = explain.inconsistent(attempt, NAMES[earlier], site, NAMES[bit], bool(bit & SOFT))
            problem = INCONSISTENT, attempt.lock.id, bit
            self._once(problem, INCONSISTENT, attempt, lines, sites=(site,), usage=usage)
        return bool(contrary)

    def _check_inversion(self, attempt: Attempt, bit: int, clashes: bool) -> None:
        """A class that becomes unsafe must not be under a safe one, nor a safe one over an unsafe one.

        Where the class clashes with itself, that has been said already.
        """
        becomes_unsafe = bool(bit & ENABLED)
        weak = attempt.read != EXCLUSIVE if becomes_unsafe else attempt.read == RECURSIVE
        path = find(
            attempt.lock,
            weak,
            lambda here, weak: (
                bool(visible(here.usage & opposites(bit), weak)) and not (clashes and here is attempt.lock)
            ),
            backward=becomes_unsafe,
            locks_only=True,
        )
        if path is None:
            return
        now = explain.End(attempt.lock.name, NAMES[bit], attempt.site)
        earlier = _end(path.end, opposites(bit))
        safe, unsafe = (earlier, now) if becomes_unsafe else (now, earlier)
        self._once(
            (INVERSION, safe.lock, unsafe.lock, bit & SOFT),
            INVERSION,
            attempt,
            [
                f"{explain.opening(attempt)}: {{{NAMES[bit]}}}.",
                f"By that, {safe.lock} -> {unsafe.lock} is an order that interrupts can turn round:",
                *explain.irq_path(safe, path.links, unsafe, bool(bit & SOFT)),
            ],
            classes=(safe.lock, unsafe.lock),
            sites=(earlier.site,),
            usage=(earlier.usage, now.usage),
            cycle=path.links,
        )


def _end(lock: LockClass, mask: int) -> explain.End:
    """The usage of `mask` that the class has, and where it got it; writers before readers."""
    bit = first_bit(lock.usage & mask)
    return explain.End(lock.name, NAMES[bit], lock.usage_sites[bit])
