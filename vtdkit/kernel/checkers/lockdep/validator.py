"""The lock validator: learns the order of lock classes and their use in interrupts, and reports deadlocks.

Mirrors kernel/locking/lockdep.c of Linux 6.12: __lock_acquire(), __lock_release(), check_wait_context() and
the reports. It knows no machine: the caller says which context takes what, where, with which interrupts on.
It never waits for a deadlock to happen; having seen each half once, on any CPU at any time, is enough.

Rules for the caller:
- make one `Lockdep` per machine, one class per kind of lock, its keys once per lock;
- start each context (task, interrupt) at `root(kind)` and walk the chain as `chain` describes;
- while an interrupt is handled, its own sort is off in the interrupt state that is passed;
- call `acquire` *before* waiting for the lock, `irqs_on` when interrupts come back on while a lock is held;
- what only instances can tell (is this very lock held? by whom?) the caller finds and reports himself.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from . import explain
from .chain import CONTEXTS, Chain
from .classes import KINDS, LockClass, WaitType
from .findings import KEEPS, TAKES, TURNS_ON, Attempt
from .graph import KIND_NAMES
from .keys import HARDIRQS_OFF, MAX_CLASSES, MAX_DEPTH, MAX_SUBCLASSES, unpack
from .order import OrderRules
from .report import TOO_DEEP, WAIT_CONTEXT, Report


@dataclass(frozen=True, slots=True)
class Dependency:
    """An edge of the order graph, for figures: `next` was taken under `prev`, first at these places."""

    prev: str
    next: str
    kinds: tuple[str, ...]
    held_at: Hashable
    taken_at: Hashable


class Lockdep(OrderRules):
    """The validator of one machine. `report` is called once for each distinct problem.

    `raw_nesting`: whether spinlocks count as sleeping locks where PREEMPT_RT would make them so
    (CONFIG_PROVE_RAW_LOCK_NESTING, off by default until Linux 6.13). All fields are private to the machine's
    one thread; no lock guards them.
    """

    def __init__(self, report: Callable[[Report], None], *, raw_nesting: bool = True) -> None:
        super().__init__(report)
        self._edges = []
        self._strictest = WaitType.CONFIG if raw_nesting else WaitType.SPIN
        self._classes: list[LockClass] = []
        self._by_name: dict[tuple[str, int], LockClass] = {}
        self._roots = {name: Chain(context) for name, context in CONTEXTS.items()}

    def lock_class(self, name: str, *, subclass: int = 0, kind: str = "spinlock") -> LockClass:
        """The class of this name and subclass, made when first asked for.

        `kind` names the primitive (see `classes.KINDS`). Raises ValueError for an unknown kind, a subclass
        out of 0..7, a class asked for again as another kind, or more classes than the kernel has room for.
        """
        if (known := self._by_name.get((name, subclass))) is not None:
            if known.kind.name != kind:
                raise ValueError(
                    f"lock class {known.name!r} exists as {known.kind.name}, not {kind}; "
                    "give another lock another name"
                )
            return known
        if kind not in KINDS:
            raise ValueError(f"unknown kind of lock {kind!r} for class {name!r}; known: {', '.join(KINDS)}")
        if not 0 <= subclass < MAX_SUBCLASSES:
            raise ValueError(f"subclass of {name!r} must be 0..{MAX_SUBCLASSES - 1}, not {subclass}")
        if len(self._classes) == MAX_CLASSES:
            raise ValueError(
                f"no room for class {name!r}: {MAX_CLASSES} exist; name them by kind, not instance"
            )
        primitive = KINDS[kind]
        inner, outer = self._level(primitive.inner), self._level(primitive.outer)
        named = f"{name}/{subclass}" if subclass else name
        lock = LockClass(len(self._classes), named, primitive, inner, outer)
        self._classes.append(lock)
        self._by_name[name, subclass] = lock
        return lock

    def _level(self, wait: WaitType) -> WaitType:
        return self._strictest if wait is WaitType.CONFIG else wait

    def root(self, context: str) -> Chain:
        """The chain of a context that holds nothing.

        Kinds: task, softirq, hardirq, hardirq-threaded. Raises ValueError for others.
        """
        if context not in self._roots:
            raise ValueError(f"unknown kind of context {context!r}; known: {', '.join(self._roots)}")
        return self._roots[context]

    # ---- what contexts do

    def acquire(
        self, chain: Chain, irqstate: int, key: int, site: Hashable, sites: Sequence[Hashable] = ()
    ) -> Chain:
        """The chain after taking `key`: checks it, and remembers that it did.

        Only needed when `chain.next[irqstate]` has no `key`. `sites`: where the context took what it holds,
        outermost first, if the caller knows (for the reports).
        """
        attempt = self._attempt(chain, irqstate, key, site, sites)
        self._check_wait_context(attempt)
        self._mark_taken(attempt, irqstate)
        child = self._extended(attempt, key)
        chain.next[irqstate][key] = child
        return child

    def release(self, chain: Chain, key: int, site: Hashable, sites: Sequence[Hashable] = ()) -> Chain:
        """The chain without the innermost `key`, which must be in it. What was taken after it stays."""
        later: list[int] = []
        node = chain
        while node.key != key:
            later.append(node.key)
            node = node.parent  # type: ignore[assignment]  # there is one: the key is held
        rest, places = node.parent, chain.places(sites)
        assert rest is not None
        del places[-1 - len(later)]
        for left, kept in zip(range(len(later), 0, -1), reversed(later), strict=True):
            rest = self._extended(self._attempt(rest, None, kept, places[-left], places[:-left], KEEPS), kept)
        return rest

    def irqs_on(self, chain: Chain, irqstate: int, site: Hashable, sites: Sequence[Hashable] = ()) -> None:
        """Hard or soft interrupts come on: whatever is held is now held with them on.

        `irqstate` is the state from now on.
        """
        if irqstate & HARDIRQS_OFF or chain.irqs_seen >> irqstate & 1:
            return
        chain.irqs_seen |= 1 << irqstate
        for node, lock in chain.nodes():
            if lock.kind.checked:
                attempt = self._attempt(chain, irqstate, node.key, site, sites, TURNS_ON)
                self._mark_enabled(attempt, irqstate)

    def _attempt(
        self,
        chain: Chain,
        irqstate: int | None,
        key: int,
        site: Hashable,
        sites: Sequence[Hashable] = (),
        doing: str = TAKES,
    ) -> Attempt:
        class_id, read, trylock = unpack(key)
        return Attempt(chain, irqstate, self._classes[class_id], read, trylock, site, sites, doing)

    def _extended(self, attempt: Attempt, key: int) -> Chain:
        """The chain with one more lock; where it was never seen, the order is checked first."""
        chain = attempt.chain
        if (known := chain.children.get(key)) is not None:
            return known
        if not attempt.trylock and attempt.lock.kind.checked:
            self._check_order(attempt)
        child = chain.children[key] = Chain(chain.context, chain, attempt.lock, key, attempt.site)
        if len(child.nodes()) == MAX_DEPTH:
            lines = [f"{explain.opening(attempt)} and then holds {MAX_DEPTH} locks."]
            self._once((TOO_DEEP, attempt.lock.id), TOO_DEEP, attempt, lines)
        return child

    def _check_wait_context(self, attempt: Attempt) -> None:
        """A lock must not wait more laxly than what it is taken inside (check_wait_context())."""
        lock, context = attempt.lock, attempt.chain.context
        allowed, limit = self._level(context.wait), None  # what it may wait like; the held lock that says so
        for (_, outside), held in zip(attempt.chain.nodes(), attempt.held, strict=True):
            if outside.inner < allowed:
                allowed, limit = outside.inner, held
        if lock.outer > allowed and not attempt.trylock:
            by = f"a {context.name} context" if limit is None else limit.lock
            self._once(
                (WAIT_CONTEXT, lock.id, by, context.name),
                WAIT_CONTEXT,
                attempt,
                explain.wait_context(attempt, lock.outer.name, allowed.name, by),
                classes=(lock.name,) if limit is None else (lock.name, limit.lock),
                sites=() if limit is None else (limit.site,),
            )

    # ---- what it has learnt

    def edges(self) -> tuple[Dependency, ...]:
        """The order graph, in the order in which it was learnt."""
        return tuple(
            Dependency(
                edge.prev.name,
                edge.next.name,
                tuple(KIND_NAMES[kind] for kind in sorted(edge.places)),
                *next(iter(edge.places.values())),  # of the kind that was seen first
            )
            for edge in self._edges
        )

    def classes(self) -> tuple[LockClass, ...]:
        """All classes, by id, with what they were used for."""
        return tuple(self._classes)
