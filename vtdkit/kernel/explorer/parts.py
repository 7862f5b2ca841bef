"""A part of the tree of executions that a worker explores for a while, and what it sends back.

A worker is told all it needs in each call and keeps nothing: any `concurrent.futures.Executor` will do, also
`dask.distributed.Client.get_executor()`.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from dataclasses import dataclass

from .bounds import Truncated
from .engine import Engine
from .footprint import Footprints
from .packing import Packed, Packer, Unpacker
from .system import Process, System, SystemFactory
from .tally import Tally


@dataclass(frozen=True, slots=True)
class Part:
    """A subtree on its way to a worker: picklable, nothing but plain values besides the factory.

    factory  makes the system; depth is the bound on the steps of one process, or None
    prefix   the steps that lead to the subtree
    tree     its nodes (`Packer.tree`), and `table` their footprints
    live     sleepers of its root whose own executions are still being run
    share    how many executions to run at most
    seconds  how long to go on at most; what is left comes back and is handed out again
    """

    factory: SystemFactory
    depth: int | None
    prefix: tuple[Process, ...]
    tree: Packed
    table: Packed
    live: frozenset[Process]
    share: int
    seconds: float


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
    if multiprocessing.parent_process() is not None and threading.current_thread() is threading.main_thread():
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # Ctrl-C is for the coordinator, which then asks no more of us
    footprints = Footprints()
    system: System = part.factory()
    if part.depth is not None:
        system = Truncated(system, part.depth)
    root = Unpacker(part.table, footprints).tree(part.tree)
    tally = Tally()
    engine = Engine(system, footprints, tally, root, part.prefix, part.live)
    deadline = time.monotonic() + part.seconds
    engine.run(lambda tally: tally.ended + tally.blocked < part.share and time.monotonic() < deadline)
    packer = Packer()
    foreign = [[index, packer.reversal(reversal)] for index, reversal in engine.foreign]
    tree = packer.tree(root)
    packed = tally.pack(packer)
    return Report(tree, packer.table, foreign, packed)
