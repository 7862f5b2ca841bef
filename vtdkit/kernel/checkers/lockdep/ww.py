"""Wound/wait mutexes: many locks of one class, taken in any order, because of two that collide one backs off.

A transaction (`WwContext`) gets a stamp when it starts; older is stronger. When it meets a mutex that another
transaction holds:

    wait-die     an older one waits; a younger one that holds something gets EDEADLK
    wound-wait   a younger one waits; an older one that holds something wounds the holder,
                 which gets EDEADLK when it collides next

After EDEADLK a transaction lets go of everything it holds and then waits for that very mutex first. Mirrors
kernel/locking/ww_mutex.h, mutex.c and include/linux/ww_mutex.h (`CONFIG_DEBUG_MUTEXES`); the second lockdep
map that Linux 6.13 gave a context is left out: it keeps memory alive that does not exist here.

This is the book-keeping and its rules, not a queue: on WAIT the caller queues the context, and calls
`granted` (or `give_up`) later.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from functools import partial

from .classes import LockClass
from .context import Context
from .findings import Findings
from .keys import EXCLUSIVE
from .report import WARN_ON, Report
from .validator import Lockdep


class Outcome(Enum):
    """What became of an attempt to lock."""

    ACQUIRED = "acquired"
    WAIT = "wait"
    EDEADLK = "back off"
    EALREADY = "held already by this transaction"


class WwClass:
    """A class of mutexes that may be taken together. `wait_die` chooses the rule; stamps count up from 1."""

    __slots__ = ("acquire", "mutex", "name", "stamp", "wait_die")

    def __init__(self, lockdep: Lockdep, name: str, *, wait_die: bool = False) -> None:
        self.name = name
        self.wait_die = wait_die
        self.stamp = 0
        self.acquire: LockClass = lockdep.lock_class(f"{name}_acquire", kind="mutex")
        self.mutex: LockClass = lockdep.lock_class(f"{name}_mutex", kind="mutex")


@dataclass(slots=True, eq=False)
class WwContext:
    """A transaction of one task.

    `inject` counts down to an EDEADLK made up to try the error path; None: never.
    """

    ww_class: WwClass
    task: Context
    stamp: int
    acquired: int = 0
    wounded: bool = False
    done: bool = False
    contending: "WwMutex | None" = None
    inject: int | None = None
    inject_interval: int = 1


@dataclass(slots=True, eq=False)
class WwMutex:
    """A mutex of a ww class: the task that holds it (`owner`), its transaction if any, how it was taken."""

    ww_class: WwClass
    name: str = "ww_mutex"
    owner: Context | None = None
    context: WwContext | None = None
    key: int = -1


_NEVER = 2**32 - 1


class WoundWait:
    """The rules for one machine.

    `report` gets a DEBUG_LOCKS_WARN_ON for each misuse; lock order is the validator's business.
    """

    def __init__(self, lockdep: Lockdep, report: Callable[[Report], None]) -> None:
        self._lockdep = lockdep
        self._findings = Findings(report)

    # ---- transactions

    def acquire_init(
        self, ww_class: WwClass, task: Context, site: Hashable, *, inject: int | None = None
    ) -> WwContext:
        """Start a transaction. A task has one at a time for each ww class."""
        ww_class.stamp += 1
        context = WwContext(ww_class, task, ww_class.stamp, inject=inject)
        task.take(ww_class.acquire.key(), site)
        return context

    def acquire_done(self, context: WwContext, site: Hashable) -> None:
        """No more locks will be taken in this transaction."""
        self._lockdep.assert_held(context.task.chain, context.ww_class.acquire, site)
        self._rules(context, site, {"it was said to be complete before": context.done})
        context.done = True

    def acquire_fini(self, context: WwContext, site: Hashable) -> None:
        """End a transaction; by now all its mutexes must be unlocked."""
        context.task.drop(context.ww_class.acquire.key(), site)
        self._rules(context, site, {f"it ends and still holds {context.acquired}": context.acquired > 0})

    # ---- mutexes

    def lock(self, mutex: WwMutex, task: Context, context: WwContext | None, site: Hashable) -> Outcome:
        """ww_mutex_lock().

        Without a transaction it is an ordinary mutex: no order among its equals, no backing off.
        """
        if context is not None:
            if mutex.context is context:
                return Outcome.EALREADY
            if context.acquired == 0:
                context.wounded = False
        key = mutex.ww_class.mutex.key(nest=None if context is None else context.ww_class.acquire)
        task.take(key, site)
        if mutex.owner is None:
            return self._take(mutex, task, context, key, site)
        if context is not None and self._must_back_off(mutex, context):
            self._back_off(mutex, context, key, site)
            return Outcome.EDEADLK
        return Outcome.WAIT

    def lock_slow(self, mutex: WwMutex, task: Context, context: WwContext, site: Hashable) -> Outcome:
        """ww_mutex_lock_slow(): the lock that made the transaction back off, now with empty hands."""
        self._rules(context, site, {"it did not have to back off": context.contending is None})
        return self.lock(mutex, task, context, site)

    def trylock(self, mutex: WwMutex, task: Context, site: Hashable) -> bool:
        """ww_mutex_trylock() without a transaction."""
        if mutex.owner is not None:
            return False
        key = mutex.ww_class.mutex.key(EXCLUSIVE, trylock=True)
        task.take(key, site)
        mutex.owner, mutex.key = task, key
        return True

    def granted(self, mutex: WwMutex, task: Context, context: WwContext | None, site: Hashable) -> Outcome:
        """The mutex was free when a waiter (Outcome.WAIT) came to it at last."""
        key = mutex.ww_class.mutex.key(nest=None if context is None else context.ww_class.acquire)
        return self._take(mutex, task, context, key, site)

    def give_up(self, mutex: WwMutex, context: WwContext, site: Hashable) -> bool:
        """Whether a waiter must back off after all, wounded or behind an older one. If so, it has."""
        backs_off = mutex.owner is not None and self._must_back_off(mutex, context)
        if backs_off:
            self._back_off(mutex, context, mutex.ww_class.mutex.key(nest=context.ww_class.acquire), site)
        return backs_off

    def unlock(self, mutex: WwMutex, task: Context, site: Hashable) -> None:
        """ww_mutex_unlock()."""
        context = mutex.context
        if context is not None:
            self._rules(context, site, {f"{mutex.name} is unlocked, it counts none": context.acquired == 0})
            context.acquired = max(0, context.acquired - 1)
            mutex.context = None
        key = mutex.key if mutex.owner is not None else mutex.ww_class.mutex.key()
        mutex.owner, mutex.key = None, -1
        task.drop(key, site)

    def _take(
        self, mutex: WwMutex, task: Context, context: WwContext | None, key: int, site: Hashable
    ) -> Outcome:
        mutex.owner, mutex.key = task, key
        if context is None:
            return Outcome.ACQUIRED
        self._check_acquired(mutex, context, site)
        context.acquired += 1
        mutex.context = context
        return self._injected(mutex, context, site) if context.acquired > 1 else Outcome.ACQUIRED

    def _check_acquired(self, mutex: WwMutex, context: WwContext, site: Hashable) -> None:
        """The rules for the moment a transaction gets a mutex."""
        rules = {
            f"{mutex.name} was free and still belongs to a transaction": mutex.context is not None,
            f"{mutex.name} is taken, but it was said to be complete": context.done,
            f"{mutex.name} is of class {mutex.ww_class.name}": context.ww_class is not mutex.ww_class,
        }
        wanted = context.contending
        if wanted is not None:
            rules[f"it backed off for {wanted.name} but takes {mutex.name}"] = wanted is not mutex
            rules[f"it backed off for {wanted.name} but kept other mutexes"] = context.acquired > 0
            context.contending = None
        self._rules(context, site, rules)

    def _must_back_off(self, mutex: WwMutex, context: WwContext) -> bool:
        """The two rules; wounds the holder on the way where the rule is wound-wait."""
        holder = mutex.context
        if context.acquired == 0:
            return False
        if context.ww_class.wait_die:
            return holder is not None and holder.stamp < context.stamp
        if holder is not None and context.stamp < holder.stamp:
            holder.wounded = True
        return context.wounded

    def _back_off(self, mutex: WwMutex, context: WwContext, key: int, site: Hashable) -> None:
        self._rules(context, site, {"it had to back off before and went on": context.contending is not None})
        context.contending = mutex
        context.task.drop(key, site)

    def _injected(self, mutex: WwMutex, context: WwContext, site: Hashable) -> Outcome:
        """Deadlock injection: pretend that the mutex just taken collided, more and more seldom.

        CONFIG_DEBUG_WW_MUTEX_SLOWPATH; the kernel starts the countdown at the last four bits of the stamp.
        """
        if context.inject is None:
            return Outcome.ACQUIRED
        context.inject -= 1
        if context.inject >= 0:
            return Outcome.ACQUIRED
        interval = context.inject_interval
        interval = _NEVER if interval > _NEVER // 4 else interval * 7 // 2
        context.inject_interval = context.inject = interval
        context.contending = mutex
        self.unlock(mutex, context.task, site)
        return Outcome.EDEADLK

    def _rules(self, context: WwContext, site: Hashable, rules: dict[str, bool]) -> None:
        """Report each rule that is broken: what is wrong, and whether it is."""
        for why, broken in rules.items():
            if broken:
                problem = (context.ww_class.name, why, site)
                self._findings.once(problem, partial(_broken_rule, context, site, why))


def _broken_rule(context: WwContext, site: Hashable, why: str) -> Report:
    name, chain = context.ww_class.name, context.task.chain
    text = f"{WARN_ON}\nAt {site}, transaction {context.stamp} of {name}: {why}."
    return Report(WARN_ON, (name,), (site,), (), (), chain.held(context.task.sites), chain.context.name, text)
