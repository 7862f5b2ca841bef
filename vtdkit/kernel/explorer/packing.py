"""A part of the tree of executions as plain lists and tuples: what goes to a worker, comes back, or is
kept in a file.

Footprints are written as numbers into one list of accesses, since their bits mean something only within one
process. The nodes stand in one flat list, each with the number of the node above, since trees are as deep as
executions are long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .footprint import Footprint, Footprints
from .path import Event
from .system import Access, Process
from .tree import Node, Reversal

Packed = list[Any]
"""Nothing but lists, tuples, numbers and the names of processes and locations."""


class Packer:
    """Turns nodes and reversals into plain lists. `table` is what `Unpacker` needs to make sense of them."""

    def __init__(self) -> None:
        self.table: list[tuple[Access, ...]] = []
        self._numbers: dict[Footprint, int] = {}

    def footprint(self, footprint: Footprint) -> int:
        """Return the number of a footprint in the table."""
        number = self._numbers.get(footprint)
        if number is None:
            number = self._numbers[footprint] = len(self.table)
            self.table.append(footprint.accesses)
        return number

    def reversal(self, reversal: Reversal) -> Packed:
        """Return a reversal as a list."""
        return [
            [[step.process, self.footprint(step.footprint), step.uid] for step in reversal.steps],
            reversal.process,
            self.footprint(reversal.footprint),
            reversal.exact,
            reversal.seed,
            reversal.born,
            sorted(reversal.rivals, key=repr),
            reversal.blind,
        ]

    def tree(self, root: Node) -> Packed:
        """Return a node and all below it as a list of lists, the node above always before those below."""
        rows: Packed = []
        todo: list[tuple[int, Process, Node]] = [(-1, None, root)]
        while todo:
            above, process, node = todo.pop()
            number = len(rows)
            rows.append([above, process, *self._node(node)])
            below = [(number, name, node.children[name]) for name in node.sleep if name in node.children]
            todo.extend(reversed(below))
        return rows

    def sleep(self, sleep: Mapping[Process, Footprint]) -> Packed:
        """Return who sleeps, with what they would touch."""
        return [[process, self.footprint(footprint)] for process, footprint in sleep.items()]

    def _node(self, node: Node) -> Packed:
        pending = [self.reversal(reversal) for reversal in node.pending]
        return [self.sleep(node.sleep), node.inherited, node.explored, node.open, pending]


class Unpacker:
    """Makes nodes and reversals of plain lists again."""

    def __init__(self, table: list[tuple[Access, ...]], footprints: Footprints) -> None:
        self._known = [footprints.of(tuple(accesses)) for accesses in table]

    def footprint(self, number: int) -> Footprint:
        """Return the footprint with a number in the table."""
        return self._known[number]

    def reversal(self, packed: Packed) -> Reversal:
        """Return the reversal that a list stands for."""
        steps, process, footprint, exact, seed, born, rivals, blind = packed
        reversal = Reversal(
            [self._step(step) for step in steps], process, self._known[footprint], exact, seed
        )
        reversal.born = born
        reversal.rivals = set(rivals)
        reversal.blind = blind
        return reversal

    def tree(self, rows: Packed) -> Node:
        """Return the uppermost of the nodes in a list, with all the others below it."""
        nodes: list[Node] = []
        for above, process, sleep, inherited, explored, open_, pending in rows:
            node = Node(dict(self.sleep(sleep)))
            node.inherited = inherited
            node.explored = explored
            for packed in pending:
                reversal = self.reversal(packed)
                born = reversal.born
                node.add(reversal)
                reversal.born = born
            node.open = open_
            if above >= 0:
                nodes[above].children[process] = node
            nodes.append(node)
        return nodes[0]

    def sleep(self, packed: Packed) -> dict[Process, Footprint]:
        """Return who sleeps, with what they would touch."""
        return {process: self._known[number] for process, number in packed}

    def _step(self, packed: Packed) -> Event:
        process, footprint, uid = packed
        event = Event(process, self._known[footprint], -1, 0)
        event.uid = uid
        return event
