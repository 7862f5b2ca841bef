"""The rules of order: no lock inside its equal, no two locks both ways round.

Mirrors check_deadlock(), check_prevs_add() and check_noncircular() in kernel/locking/lockdep.c.
"""

from collections.abc import Hashable

from . import explain
from .classes import LockClass
from .findings import Attempt
from .graph import KIND_NAMES, Edge, add_edge, edge_kind, find
from .irq import IrqRules
from .keys import EXCLUSIVE, RECURSIVE, unpack
from .report import CIRCULAR, RECURSION, Link


class OrderRules(IrqRules):
    """Checks a lock being taken against what is held, and keeps the graph.

    `_edges` is every edge in the order of its making.
    """

    _edges: list[Edge]

    def _check_order(self, attempt: Attempt) -> None:
        """All rules of order, for a lock that is waited for (no trylock)."""
        twin = next(  # the outermost held lock of the same class that the new one cannot share with
            (
                held
                for (node, lock), held in zip(attempt.chain.nodes(), attempt.held, strict=True)
                if lock is attempt.lock
                and not (attempt.read == RECURSIVE and unpack(node.key).read != EXCLUSIVE)
            ),
            None,
        )
        if twin is None:
            self._add_edges(attempt)
        else:
            self._once(
                (RECURSION, attempt.lock.id),
                RECURSION,
                attempt,
                explain.recursion(attempt, twin),
                classes=(attempt.lock.name, twin.lock),
                sites=(twin.site,),
            )

    def _add_edges(self, attempt: Attempt) -> None:
        """An edge from the innermost lock, and from those outside it up to the first that is no trylock.

        A trylock got no edge of its own, so the order behind it would be lost. Marks that take part in no
        order (RCU) are looked through.
        """
        for (node, prev), held in zip(attempt.chain.nodes()[::-1], attempt.held[::-1], strict=True):
            if prev.kind.checked:
                taken = unpack(node.key)
                self._add_edge(attempt, prev, taken.read, held.site)
                if not taken.trylock:
                    return

    def _add_edge(self, attempt: Attempt, prev: LockClass, prev_read: int, held_at: Hashable) -> None:
        lock = attempt.lock
        kind = edge_kind(prev_read, attempt.read)
        known = prev.after.get(lock.id)
        if prev is lock or (known is not None and known.kinds >> kind & 1):
            return  # a reader inside a reader; or an edge that was checked when it came
        new = Link(prev.name, lock.name, KIND_NAMES[kind], held_at, attempt.site)
        self._check_circle(attempt, prev, prev_read, new)
        self._check_edge(attempt, prev, prev_read, new)
        edge = add_edge(prev, lock, kind, held_at, attempt.site)
        if known is None:
            self._edges.append(edge)

    def _check_circle(self, attempt: Attempt, prev: LockClass, prev_read: int, new: Link) -> None:
        """A circle is a strong path from the new lock back to the held one, without a gap where they meet."""
        path = find(
            attempt.lock,
            attempt.read == RECURSIVE,
            lambda here, weak: here is prev and (prev_read == EXCLUSIVE or not weak),
        )
        if path is not None:
            circle = (new, *path.links)
            self._once(
                (CIRCULAR, prev.id, attempt.lock.id),
                CIRCULAR,
                attempt,
                explain.circular(attempt, circle),
                classes=(new.next, new.prev),
                sites=(circle[-1].taken_at, new.held_at),
                cycle=circle,
            )
