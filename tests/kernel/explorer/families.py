"""The programs whose numbers of equivalence classes are published or were counted by other
tools, in our words.

`FAMILIES[name](n)` is the list of threads of one member; `Family(name, n)` is a factory of systems that can
be pickled. The numbers are in `../trace_counts.json`; where they come from is told there. Definitions of the
families that GenMC and Nidhugg ship as tests, restated:

    ainc, binc, cinc   N threads add 1 to one, two, three variables (fetch and add)
    rw, inc            N threads read x, then write it
    wainc              one thread writes x, N add 1 to it
    cas                N threads try to change x from 0, each to another value
    casw               N threads try to change x from 0 to 1, then write a value of their own
    casrot             thread i tries to change x from i - 1 to i
    wcas               one thread writes 2, N try to change x from 2 to 3
    lockinc, lock2inc  N threads add 1 to one variable, to two, holding a lock
    CoA                W(x,1) R(y) R(x) beside W(x,2) R(z) R(x), and k threads that write y and z
    fib                two threads, N times x += y and y += x
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from .small import Small, Thread

Body = Generator[tuple[Any, ...], Any, None]


def straight(*operations: tuple[Any, ...]) -> Thread:
    """Return a thread that does these operations in a row, whatever they yield."""

    def thread() -> Body:
        for operation in operations:  # noqa: UP028  (what is sent in has to be taken)
            yield operation

    return thread


def adds(*variables: str) -> Thread:
    return straight(*(("FAA", variable, 1) for variable in variables))


def increments(number: int) -> Thread:
    def thread() -> Body:
        seen = yield "R", "x"
        yield "W", "x", seen + 2**number

    return thread


def increments_locked(*variables: str) -> Thread:
    def thread() -> Body:
        yield "L", "m"
        for variable in variables:
            seen = yield "R", variable
            yield "W", variable, seen + 1
        yield "U", "m"

    return thread


def lastzero(n: int) -> list[Thread]:
    def reader() -> Body:
        index = n
        while (yield "R", ("a", index)) != 0:
            index -= 1

    def writer(index: int) -> Thread:
        def thread() -> Body:
            below = yield "R", ("a", index - 1)
            yield "W", ("a", index), below + 1

        return thread

    return [reader, *(writer(index) for index in range(1, n + 1))]


def indexer(n: int) -> list[Thread]:
    def inserts(number: int) -> Thread:
        def thread() -> Body:
            for round_ in range(1, 5):
                word = 11 * round_ + number
                slot = 7 * word % 128
                while (yield "CAS", ("table", slot), 0, word) != 0:
                    slot = (slot + 1) % 128

        return thread

    return [inserts(number) for number in range(n)]


def filesystem(n: int) -> list[Thread]:
    def creates(number: int) -> Thread:
        def thread() -> Body:
            inode = number % 32
            yield "L", ("inode lock", inode)
            if (yield "R", ("inode", inode)) == 0:
                block = 2 * inode % 26
                while True:
                    yield "L", ("block lock", block)
                    if not (yield "R", ("busy", block)):
                        yield "W", ("busy", block), 1
                        yield "W", ("inode", inode), block + 1
                        yield "U", ("block lock", block)
                        break
                    yield "U", ("block lock", block)
                    block = (block + 1) % 26
            yield "U", ("inode lock", inode)

        return thread

    return [creates(number) for number in range(n)]


def philosophers(n: int) -> list[Thread]:
    def eats(left: int, right: int) -> Thread:
        return straight(("L", left), ("L", right), ("U", right), ("U", left))

    return [eats(number, (number + 1) % n) for number in range(n)]


def fib(n: int) -> list[Thread]:
    def adds_to(target: str) -> Thread:
        def thread() -> Body:
            for _ in range(n):
                x = yield "R", "x"
                y = yield "R", "y"
                yield "W", target, x + y

        return thread

    return [adds_to("x"), adds_to("y")]


def coa(extra: int) -> list[Thread]:
    return [
        straight(("W", "x", 1), ("R", "y"), ("R", "x")),
        straight(("W", "x", 2), ("R", "z"), ("R", "x")),
        *(straight(("W", "y", number), ("W", "z", number)) for number in range(extra)),
    ]


FAMILIES: dict[str, Callable[[int], list[Thread]]] = {
    "ainc(N)": lambda n: [adds("x")] * n,
    "binc(N)": lambda n: [adds("x", "y")] * n,
    "cinc(N)": lambda n: [adds("x", "y", "z")] * n,
    "rw(N)": lambda n: [straight(("R", "x"), ("W", "x", number)) for number in range(n)],
    "inc(N)": lambda n: [increments(number) for number in range(n)],
    "wainc(N)": lambda n: [straight(("W", "x", 42)), *[adds("x")] * n],
    "cas(N)": lambda n: [straight(("CAS", "x", 0, number + 1)) for number in range(n)],
    "casw(N)": lambda n: [straight(("CAS", "x", 0, 1), ("W", "x", number + 3)) for number in range(n)],
    "casrot(N)": lambda n: [straight(("CAS", "x", number, number + 1)) for number in range(n)],
    "wcas(N)": lambda n: [straight(("W", "x", 2)), *[straight(("CAS", "x", 2, 3))] * n],
    "lockinc(N)": lambda n: [increments_locked("x")] * n,
    "lock2inc(N)": lambda n: [increments_locked("x", "y")] * n,
    "CoA(k extra)": coa,
    "lastzero(N)": lastzero,
    "readers(N)": lambda n: [straight(("W", "x", 1)), *[straight(("R", "x"))] * n],
    "indexer(N)": indexer,
    "filesystem(N)": filesystem,
    "philosophers(N) complete": philosophers,
    "philosophers(N) deadlock": philosophers,
    "fib(N)": fib,
}


@dataclass(frozen=True)
class Family:
    """A factory of the systems of one family member."""

    name: str
    n: int

    def __call__(self) -> Small:
        return Small(FAMILIES[self.name](self.n))
