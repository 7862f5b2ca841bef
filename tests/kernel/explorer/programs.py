"""Random small programs, made from a number: a few threads of a few operations each, with branches
on what they read.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from .families import Body
from .small import Small, Thread

Line = tuple[str, Any, Any]
"""(operation, variable or lock, condition or value)"""

MEMORY = ("R", "W", "FAA", "CAS")
MIXES: dict[str, dict[str, Any]] = {
    "memory": {"kinds": MEMORY},
    "reads and writes": {"kinds": ("R", "W")},
    "locks": {"kinds": ("R", "W", "LOCK", "BOTH")},
    "locks, trylocks and memory": {"kinds": ("R", "W", "CAS", "LOCK", "BOTH", "TRY")},
    "reader locks": {"kinds": ("R", "W", "LOCK", "SHARE", "TRY", "TRYSHARE")},
    "interrupts": {"kinds": ("R", "W", "CAS"), "interrupts": True},
    "interrupts and locks": {"kinds": ("R", "W", "LOCK"), "interrupts": True},
}
"""Programs for which no execution may be given up."""

LOOSE: dict[str, dict[str, Any]] = {
    "several accesses in a step": {"kinds": MEMORY, "joined": True},
    "several accesses and locks": {"kinds": ("R", "W", "CAS", "LOCK", "TRY", "BOTH"), "joined": True},
    "waits for words": {"kinds": ("R", "W", "AWAIT", "FAA")},
    "waits, locks, several accesses": {"kinds": ("R", "W", "AWAIT", "LOCK", "CAS"), "joined": True},
    "interrupts, locks, several accesses": {"kinds": ("R", "W", "LOCK"), "interrupts": True, "joined": True},
}
"""Programs for which executions may be given up, but none may be lost or run twice."""


def _lines(random: Random, kinds: tuple[str, ...], count: int, joined: bool) -> list[Line]:
    lines: list[Line] = []
    for _ in range(count):
        kind = random.choice(kinds)
        variable = random.choice("xyz"[: random.choice((1, 2, 3))])
        lock = random.choice("mn")
        condition = random.choice((None, None, None, 0, 1))
        inner = _lines(random, ("R", "W"), random.randint(0, 2), joined) if kind in ("LOCK", "SHARE") else []
        if kind == "LOCK":
            lines += [("L", lock, None), *inner, ("U", lock, None)]
        elif kind == "SHARE":
            lines += [("RL", lock, None), *inner, ("RU", lock, None)]
        elif kind == "BOTH":
            other = "n" if lock == "m" else "m"
            lines += [("L", lock, None), ("L", other, None), ("U", other, None), ("U", lock, None)]
        elif kind in ("TRY", "TRYSHARE"):
            lines.append((kind, lock, None))
        elif kind == "AWAIT":
            lines.append(("AWAIT", variable, random.choice((0, 1))))
        else:
            join = "+" if joined and lines and random.random() < 0.4 else ""
            lines.append((join + kind, variable, condition))
    return lines


def _thread(lines: list[Line]) -> Thread:
    def thread() -> Body:
        seen = 0
        for kind, what, value in lines:
            bare = kind.lstrip("+")
            if bare in ("R", "W", "FAA") and value is not None and seen != value:
                continue
            if bare == "R":
                seen = yield kind, what
            elif bare == "W":
                yield kind, what, (seen + 1) % 2 if value is None else value
            elif bare == "FAA":
                seen = yield kind, what, 1
            elif bare == "CAS":
                seen = yield kind, what, value or 0, 1
            elif bare == "TRY":
                seen = int((yield "T", what))
                if seen:
                    yield "U", what
            elif bare == "TRYSHARE":
                seen = int((yield "RT", what))
                if seen:
                    yield "RU", what
            elif bare == "AWAIT":
                yield "AWAIT", what, value
            else:
                yield bare, what

    return thread


@dataclass(frozen=True)
class RandomProgram:
    """A factory of systems, made from a number, that can be pickled."""

    number: int
    kinds: tuple[str, ...]
    joined: bool = False
    interrupts: bool = False

    def __call__(self) -> Small:
        random = Random(self.number)
        count = random.choice((2, 3, 3, 4))
        programs = [_lines(random, self.kinds, random.randint(1, 3), self.joined) for _ in range(count)]
        options: dict[str, Any] = {}
        if self.interrupts:
            handlers = range(count - random.choice((1, 1, min(2, count - 1))), count)
            options = {"on": dict.fromkeys((0, *handlers), 0), "interrupts": list(handlers)}
            if random.random() < 0.5:
                first = programs[0]
                off = random.randint(0, len(first))
                on = random.randint(off, len(first))
                programs[0] = [*first[:off], ("CLI", 0, None), *first[off:on], ("STI", 0, None), *first[on:]]
        return Small([_thread(lines) for lines in programs], **options)
