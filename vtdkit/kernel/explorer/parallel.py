"""Exploration spread over workers, with the same counts as in one process.

The coordinator holds the upper part of the tree of executions. The subtrees below it go to workers,
each for a limited number of executions, and come back with what is left to do in them and with the
reversals that belong further up. A subtree that is at home may be split: its uppermost node then
becomes part of the upper tree.

One thing makes this more than handing out branches. Of two branches from one node, the later one leaves
to the earlier one all executions that are the same in both, and relies on reversals found in the earlier
one. In one process the earlier one is finished first. Here both may be under way, so what the earlier one
finds is sent after the later one (`settle`), which for that reason keeps the nodes it has done while the
earlier one lasts (`live`). Nothing is ever sent from a later branch to an earlier one, so the earliest
branch left can always be finished.
"""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait

from .bounds import Truncated
from .footprint import Footprints
from .packing import Packer, Unpacker
from .parts import Part, Report, explore_part
from .path import Path
from .stopping import Stopping
from .system import Process, System, SystemFactory
from .tally import Tally
from .tree import NOBODY, Node, Reversal, covered_before, offer_late, prune, settle, undisturbed

FIRST_SECONDS = 0.05
SECONDS = 0.5
SHARE = 100_000
HOME, AWAY, HELD = "home", "away", "held"


class Top:
    """A node of the upper tree, or the root of a subtree below it.

    state     HOME: a subtree, here; AWAY: a subtree with a worker; HELD: a node of the upper tree
    node      its node. While it is away this is a stand-in that only collects reversals
    children  of a held node: the tops below it that are not finished, in the order in which they were begun
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
    def prefix(self) -> tuple[Process, ...]:
        """The steps that lead here."""
        return tuple([top.process for top in self.chain[1:]])

    @property
    def is_idle(self) -> bool:
        """True if nothing is to be run here or below, as far as is known now."""
        if self.state == HELD:
            return not self.node.pending and not self.children
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


class Coordinator:
    """Hands out parts of a tree and puts together what comes back. No locks: one thread."""

    def __init__(
        self,
        factory: SystemFactory,
        depth: int | None,
        executor: Executor,
        tally: Tally,
        stop: Stopping,
        root: Node,
        footprints: Footprints,
    ) -> None:
        self.factory = factory
        self.depth = depth
        self.executor = executor
        self.tally = tally
        self.stop = stop
        self.footprints = footprints
        self.root = Top(root)
        self.system: System = factory() if depth is None else Truncated(factory(), depth)
        self.away: dict[Future[Report], tuple[Top, Part]] = {}
        self.wanted = 2 * max(2, getattr(executor, "_max_workers", None) or os.cpu_count() or 2)
        self.seconds = FIRST_SECONDS

    def run(self) -> bool:
        """Explore until all is done (True), or until it is time to stop (False). Then
        everything is at home.
        """
        try:
            while True:
                if self.stop.go_on(self.tally):
                    self._hand_out()
                if not self.away:
                    break
                done, _ = wait(self.away, return_when=FIRST_COMPLETED)
                for future in [future for future in self.away if future in done]:
                    self._take_back(future)
        finally:
            for future in self.away:
                future.cancel()
        self._tidy()
        root = self.root
        self._update_open()
        return root.is_idle

    # -- giving

    def _hand_out(self) -> None:
        while len(self.away) < self.wanted:
            self._tidy()
            top = next((top for top in self._tops() if top.state == HOME and top.node.open), None)
            if top is None:
                if self._begin_one():
                    continue
                return
            if top.node.explored and self._is_scarce():
                self._split(top)
                continue
            left = self.stop.left(self.tally)
            share = SHARE
            if left is not None:
                left -= sum(part.share for _, part in self.away.values())
                if left <= 0:
                    return
                share = max(1, left // self.wanted)
            self._submit(top, share)

    def _is_scarce(self) -> bool:
        """Say whether there are fewer subtrees to be run than workers could use."""
        ready = sum(top.state == AWAY or (top.state == HOME and top.node.open) for top in self._tops())
        return ready < self.wanted

    def _tops(self, deepest: bool = False) -> list[Top]:
        """Return all tops, earlier branches first; each before those below it, or after them."""
        found = []
        todo = [self.root]
        while todo:
            top = todo.pop()
            found.append(top)
            todo.extend(top.children.values() if deepest else reversed(top.children.values()))
        return found[::-1] if deepest else found

    def _split(self, top: Top) -> None:
        """Make the uppermost node of a subtree that has been begun one of the upper tree."""
        node = top.node
        top.state = HELD
        for process in node.sleep:
            if process in node.children:
                top.children[process] = Top(node.children[process], process, top)
        for reversal in node.pending:
            reversal.blind = True
        self._begin(top)

    def _begin_one(self) -> bool:
        """Begin another branch from some node of the upper tree; False if there is none to begin."""
        return any(top.state == HELD and self._begin(top) for top in self._tops())

    def _begin(self, top: Top) -> bool:
        """Begin all branches pending in a node of the upper tree; False if there are none."""
        node = top.node
        begun = False
        while node.pending:
            reversal = node.pending[0]
            path = self._path_to(top.prefix)
            process = reversal.first
            if process not in path.enabled[-1] or process in node.sleep or node.is_covered(reversal):
                del node.pending[0]
                continue
            taken = node.take_along(process)
            footprint = path.extend(process, self.footprints.of(self.system.step(process))).footprint
            self.tally.steps += 1
            self.tally.meet(path, len(path.events) - 1)
            child = Node(
                {
                    sleeper: touched
                    for sleeper, touched in node.sleep.items()
                    if not touched.clash & footprint.touch and sleeper != process
                }
            )
            for along in taken:
                child.add(along)
            node.put_to_sleep(process, footprint)
            node.children[process] = child
            top.children[process] = Top(child, process, top)
            begun = True
        return begun

    def _path_to(self, prefix: tuple[Process, ...]) -> Path:
        path = Path(self.system)
        self.system.start()
        path.enabled.append(self.system.enabled())
        for process in prefix:
            path.extend(process, self.footprints.of(self.system.step(process)))
            path.enabled.append(self.system.enabled())
        return path

    def _submit(self, top: Top, share: int) -> None:
        packer = Packer()
        live = top.unsettled()
        prune(top.node, live)
        tree = packer.tree(top.node)
        part = Part(self.factory, self.depth, top.prefix, tree, packer.table, live, share, self.seconds)
        away = Node(top.node.sleep)
        away.inherited = top.node.inherited
        away.inbox = []
        self._put(top, away, AWAY)
        self.away[self.executor.submit(explore_part, part)] = top, part

    def _put(self, top: Top, node: Node, state: str) -> None:
        top.node = node
        top.state = state
        if top.above is not None:
            top.above.node.children[top.process] = node

    # -- taking

    def _take_back(self, future: Future[Report]) -> None:
        top, part = self.away.pop(future)
        try:
            report = future.result()
        except BrokenExecutor:
            if not self.stop.interrupted:
                raise
            report = Report(
                part.tree, part.table, [], Tally().pack(Packer())
            )  # lost: to be run again another day
        unpacker = Unpacker(report.table, self.footprints)
        inbox = top.node.inbox or []
        self._put(top, unpacker.tree(report.tree), HOME)
        self.tally.merge(Tally.unpack(report.tally, unpacker))
        for reversal in inbox:
            settle(top.node, top.node.inherited, reversal)
        chain = top.chain
        for index, packed in report.foreign:
            reversal = unpacker.reversal(packed)
            reversal.blind = True
            self._deliver(chain[index].node, chain[index + 1].process, reversal)
        self.seconds = SECONDS

    def _deliver(self, node: Node, origin: Process, reversal: Reversal) -> None:
        """Put a reversal of a race with `origin`'s step into a node of the upper tree, or below, if
        it is not covered.
        """
        left = undisturbed(node.asleep_before(origin), reversal.steps)
        if left is not None and not covered_before(
            left, reversal.process, reversal.footprint, reversal.exact
        ):
            offer_late(node, origin, reversal)

    def _tidy(self) -> None:
        """Forget the branches that are finished: nothing to be run, and nothing to
        come from earlier ones.
        """
        for top in self._tops(deepest=True):
            if top.above is not None and top.is_idle and not top.unsettled():
                del top.above.children[top.process]
                del top.above.node.children[top.process]

    def _update_open(self) -> None:
        for top in self._tops(deepest=True):
            if top.state == HELD:
                top.node.open = bool(top.node.pending) or any(
                    child.node.open for child in top.children.values()
                )


def explore_in_parts(
    factory: SystemFactory,
    depth: int | None,
    executor: Executor,
    tally: Tally,
    stop: Stopping,
    root: Node | None,
    footprints: Footprints,
) -> tuple[bool, Node]:
    """Explore below a root with an executor; return whether all was done, and the root with what is left."""
    coordinator = Coordinator(factory, depth, executor, tally, stop, root or Node(NOBODY), footprints)
    done = coordinator.run()
    return done, coordinator.root.node
