"""A tiny language of concurrent programs, as a `System` for the explorer: what its counts are tested on.

A thread is a generator function that yields operations and gets their results:

    def thread():
        seen = yield "R", "x"              # load
        yield "W", "x", seen + 1           # store
        old = yield "FAA", "x", 1          # fetch and add
        old = yield "CAS", "x", 0, 1       # compare and swap; it happened if old == 0
        yield "L", "m"                     # lock (waits); "U" unlocks, "T" tries and gives True or False
        yield "RL", "m"                    # lock shared (waits); "RU" unlocks, "RT" tries
        yield "AWAIT", "x", 1              # waits until x is 1
        yield "SPAWN", "child", function   # starts a thread; "JOIN", "child" waits for its end
        yield "CLI", 0                     # interrupts off on CPU 0; "STI", 0 on again

An operation written with "+" in front ("+R") belongs to the same step as the one before it. All variables are
0 at the start. `Small(threads, on=..., interrupts=...)` puts threads on CPUs: a thread cannot move while an
interrupt handler runs on its CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from vtdkit.kernel.explorer.system import (
    ACQUIRE,
    READ,
    RELEASE,
    SHARED_ACQUIRE,
    SHARED_RELEASE,
    WAIT,
    WRITE,
    Outcome,
)

Thread = Callable[[], Generator[tuple[Any, ...], Any, None]]
Accesses = tuple[tuple[Any, int], ...]
WAITS = {"L": ACQUIRE, "RL": SHARED_ACQUIRE, "AWAIT": WAIT, "JOIN": WAIT}


class Small:
    """Threads over variables and locks.

    threads     list of generator functions (named 0, 1, 2 ...) or a mapping name -> generator function
    on          thread name -> CPU number, where that matters
    interrupts  names of the threads that are interrupt handlers: they start at any moment, run on top of the
                threads of their CPU, one at a time there
    observe     what to say at the end, from the memory; by default nothing
    """

    def __init__(
        self,
        threads: Sequence[Thread] | Mapping[Any, Thread],
        on: Mapping[Any, int] | None = None,
        interrupts: Sequence[Any] = (),
        observe: Callable[[dict[Any, Any]], Outcome] | None = None,
    ) -> None:
        self.threads = dict(threads) if isinstance(threads, Mapping) else dict(enumerate(threads))
        self.on = dict(on or {})
        self.interrupts = frozenset(interrupts)
        self.observe = observe
        self.cells: dict[Any, list[Accesses]] = {}
        self.does = {name[3:]: getattr(self, name) for name in dir(self) if name.startswith("do_")}
        self.does |= {f"+{name}": act for name, act in self.does.items()}

    # -- the System

    def start(self) -> None:
        self.memory: dict[Any, Any] = {}
        self.owner: dict[Any, Any] = {}
        self.readers: dict[Any, list[Any]] = {}
        self.running: dict[int, Any] = {}
        self.off: set[int] = set()
        self.begun: set[Any] = set()
        self.ended: set[Any] = set()
        self.send: dict[Any, Any] = {}
        self.next: dict[Any, tuple[Any, ...]] = {}
        self.movable: tuple[Any, ...] | None = None
        self.taken = 0
        self.births: dict[Any, int] = {}
        for name, thread in self.threads.items():
            self._launch(name, thread)

    def _launch(self, name: Any, thread: Thread) -> None:
        generator = thread()
        self.births[name] = self.taken
        try:
            self.next[name] = next(generator)
            self.send[name] = generator.send
        except StopIteration:
            self.ended.add(name)

    def born(self, name: Any) -> int:
        return self.births[name]

    def enabled(self) -> tuple[Any, ...]:
        if self.movable is None:
            self.movable = tuple([name for name, op in self.next.items() if self._may_move(name, op)])
        return self.movable

    def _may_move(self, name: Any, op: tuple[Any, ...]) -> bool:
        kind = op[0]
        if kind in WAITS and not self._let_through(kind, op):
            return False
        return name not in self.on or self._has_cpu(name)

    def _let_through(self, kind: str, op: tuple[Any, ...]) -> bool:
        if kind == "AWAIT":
            return bool(self.memory.get(op[1], 0) == op[2])
        if kind == "JOIN":
            return op[1] in self.ended
        return op[1] not in self.owner and not (kind == "L" and self.readers.get(op[1]))

    def _has_cpu(self, name: Any) -> bool:
        cpu = self.on[name]
        if name in self.interrupts and name not in self.begun:
            return cpu not in self.running and cpu not in self.off
        return bool(self.running.get(cpu, name) == name)

    def step(self, name: Any) -> Accesses:
        self.taken += 1
        op = self.next[name]
        before = self._enter(name) if self.on else ()
        accesses, result = self.does[op[0]](name, op)
        try:
            op = self.send[name](result)
            while op[0][0] == "+":
                more, result = self.does[op[0]](name, op)
                accesses = accesses + more
                op = self.send[name](result)
            self.next[name] = op
            if op[0] in WAITS:
                self.movable = None
        except StopIteration:
            self.movable = None
            del self.next[name]
            self.ended.add(name)
            accesses = accesses + self._end(name)
        return before + accesses if before else accesses

    def _enter(self, name: Any) -> Accesses:
        if name not in self.on or name in self.begun:
            return ()
        cpu = self.on[name]
        if name not in self.interrupts:
            return self._cell(("cpu", cpu))[WAIT]
        self.begun.add(name)
        self.running[cpu] = name
        self.movable = None
        return self._cell(("irq", cpu))[WAIT] + self._cell(("cpu", cpu))[ACQUIRE]

    def _end(self, name: Any) -> Accesses:
        ended: Accesses = ()
        if name in self.interrupts:
            del self.running[self.on[name]]
            ended = self._cell(("cpu", self.on[name]))[RELEASE]
        if name not in self.threads:
            ended += self._cell(("end of", name))[RELEASE]
        return ended

    def blocked(self) -> dict[Any, Accesses]:
        free = self.enabled()
        return {name: self._wanted(name, op) for name, op in self.next.items() if name not in free}

    def _wanted(self, name: Any, op: tuple[Any, ...]) -> Accesses:
        wanted: Accesses = ()
        if name in self.on and name not in self.begun:
            cpu = self.on[name]
            if name in self.interrupts:
                wanted = self._cell(("irq", cpu))[WAIT] + self._cell(("cpu", cpu))[ACQUIRE]
            else:
                wanted = self._cell(("cpu", cpu))[WAIT]
        if op[0] in WAITS:
            location = ("end of", op[1]) if op[0] == "JOIN" else op[1]
            wanted += self._cell(location)[WAITS[op[0]]]
        return wanted

    def finish(self) -> Outcome:
        return self.observe(self.memory) if self.observe else Outcome()

    # -- the operations: each returns its accesses and its result

    def _cell(self, location: Any) -> list[Accesses]:
        cell = self.cells.get(location)
        if cell is None:
            cell = self.cells[location] = [((location, kind),) for kind in range(7)]
        return cell

    def do_R(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        return self._cell(op[1])[READ], self.memory.get(op[1], 0)

    def do_W(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        self.memory[op[1]] = op[2]
        self.movable = None
        return self._cell(op[1])[WRITE], None

    def do_FAA(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        old = self.memory.get(op[1], 0)
        self.do_W(name, (op[0], op[1], old + op[2]))
        return self._cell(op[1])[WRITE], old

    def do_CAS(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        old = self.memory.get(op[1], 0)
        if old != op[2]:
            return self._cell(op[1])[READ], old
        return self.do_W(name, (op[0], op[1], op[3]))[0], old

    def do_L(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        self.owner[op[1]] = name
        self.movable = None
        return self._cell(op[1])[ACQUIRE], None

    def do_U(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        del self.owner[op[1]]
        self.movable = None
        return self._cell(op[1])[RELEASE], None

    def do_T(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        if op[1] in self.owner or self.readers.get(op[1]):
            return self._cell(op[1])[READ], False
        self.do_L(name, op)
        return self._cell(op[1])[WRITE], True

    def do_RL(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        self.readers.setdefault(op[1], []).append(name)
        self.movable = None
        return self._cell(op[1])[SHARED_ACQUIRE], None

    def do_RU(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        self.readers[op[1]].remove(name)
        self.movable = None
        return self._cell(op[1])[SHARED_RELEASE], None

    def do_RT(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        if op[1] in self.owner:
            return self._cell(op[1])[READ], False
        self.do_RL(name, op)
        return self._cell(op[1])[READ] + self._cell(op[1])[SHARED_ACQUIRE], True

    def do_AWAIT(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        return self._cell(op[1])[WAIT], None

    def do_JOIN(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        return self._cell(("end of", op[1]))[WAIT], None

    def do_SPAWN(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        self._launch(op[1], op[2])
        self.movable = None
        return (), None

    def do_CLI(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        self.off.add(op[1])
        self.movable = None
        return self._cell(("irq", op[1]))[ACQUIRE], None

    def do_STI(self, name: Any, op: tuple[Any, ...]) -> tuple[Accesses, Any]:
        self.off.discard(op[1])
        self.movable = None
        return self._cell(("irq", op[1]))[RELEASE], None
