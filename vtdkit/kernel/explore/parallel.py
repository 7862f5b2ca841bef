"""Exploration spread over workers, with the same counts as in one process.

The coordinator holds the upper part of the tree of executions. The subtrees below it go to workers, each for a
limited number of executions, and come back with what is left to do in them and with the reversals that belong
further up. A subtree may be split when it is at home: its uppermost node then becomes part of the upper tree.

One thing makes this more than handing out branches. Of two branches from one node, the later one leaves to the
earlier one all executions that are the same in both, and relies on reversals found in the earlier one. In one
process the earlier one is finished first. Here both may be under way, so what the earlier one finds is sent after
the later one (`settle`), which for that reason keeps the nodes it has done while the earlier one lasts (`live`).

A worker is told all it needs in each call and keeps nothing: any `concurrent.futures.Executor` will do, also
`dask.distributed.Client.get_executor()`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import Any

from .bounds import Truncated
from .engine import Engine
from .footprint import Footprints
from .packing import Packed, Packer, Unpacker
from .system import Process, System, SystemFactory
from .tally import Tally
from .tree import NOBODY, Node, Reversal, covered_before, offer_late, settle, undisturbed

FIRST_SHARE = 20
SHARE = 500


@dataclass(frozen=True, slots=True)
class Part:
    """A subtree on its way to a worker: picklable, nothing but plain values besides the factory.

    factory  makes the system; depth is the bound on the steps of one process, or None
    prefix   the steps that lead to the subtree
    tree     its nodes (`Packer.tree`), and `table` their footprints
    live     sleepers of its root whose own executions are still being run
    share    how many executions to run at most
    """

    factory: SystemFactory
    depth: int | None
    prefix: tuple[Process, ...]
    tree: Packed
    table: Packed
    live: frozenset[Process]
    share: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker sends back.

    tree, table  the subtree as it is now
    foreign      (number of the step, reversal): what belongs into nodes above
    tally        what was found
    """

    tree: Packed
    table: Packed
    foreign: Packed
    tally: Packed


def explore_part(part: Part) -> Report:
    """Explore a subtree for a while: what a worker does."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the coordinator, which asks no more of us
    footprints = Footprints()
    system: System = part.factory()
    if part.depth is not None:
        system = Truncated(system, part.depth)
    root = Unpacker(part.table, footprints).tree(part.tree)
    tally = Tally()
    engine = Engine(system, footprints, tally, root, part.prefix, part.live)
    engine.run(lambda tally: tally.ended + tally.blocked < part.share)
    packer = Packer()
    foreign = [[index, packer.reversal(reversal)] for index, reversal in engine.foreign]
    tree = packer.tree(root)
    return Report(tree, packer.table, foreign, tally.pack(packer))


class Top:
    """A node of the upper tree, or the root of a subtree below it.

    state     HOME: a subtree, here; AWAY: a subtree with a worker; HELD: a node of the upper tree
    node      its node. While it is away this is a stand-in that only collects reversals
    children  of a held node: the tops below it, in the order in which they were begun
    """

    __slots__ = ("above", "children", "node", "process", "state")

    def __init__(self, node: Node, process: Process = None, above: Top | None = None) -> None:
        self.node = node
        self.process = process
        self.above = above
        self.state = HOME
        self.children: dict[Process, Top] = {}

    @property
    def chain(self) -> list[Top]:
        """The tops from the root down to this one."""
        chain: list[Top] = []
        top: Top | None = self
        while top is not None:
            chain.append(top)
            top = top.above
        return chain[::-1]

    @property
    def is_done(self) -> bool:
        """True if nothing is left to be run here or below, as far as is known now."""
        if self.state == HELD:
            return not self.node.pending and all(child.is_done for child in self.children.values())
        return self.state == HOME and not self.node.open

    def unsettled(self) -> frozenset[Process]:
        """Return the sleepers of this node in whose own executions something may still be found."""
        found = set()
        top: Top = self
        while top.above is not None:
            for process, sibling in top.above.children.items():
                if sibling is top:
                    break
                if process in self.node.sleep:
                    found.add(process)
            top = top.above
        return frozenset(found)
