"""Small lock programs whose verdict the kernel's documentation tells: found alone, simulated and explored.

A program is a few threads, each a line of words: `+s` takes, `-s` gives back, `<r` and `>r` share and stop
sharing, `?s` tries (and gives back at `-s` if it got it), `off` and `on` are hard interrupts, `bh` and `bhon`
softirqs, `rcu` and `/rcu` a read-side section, `sync`, `sleep`, `wait`, `complete`, `done`. A name's first
letter says what it is: s spin lock, q raw spin lock, m mutex, r rwlock, w rwsem; `s1/1` has subclass 1.
`irq:` and `softirq:` begin a line that an interrupt runs.

Sources: Documentation/locking/{lockdep-design,locktypes,spinlocks,mutex-design,seqlock}.rst,
RCU/checklist.rst, and the kernel's own locking self-tests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from vtdkit.kernel.checkers.findings import Deadlock, Finding
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.locks.sync import Completion
from vtdkit.kernel.machine.machine import Machine

RECURSIVE, CIRCLE = "possible recursive locking", "circular locking dependency"
STATE, INVERSION = "inconsistent lock state", "lock inversion|unsafe lock order"
SLEEP, CONTEXT = "sleeping function", "Invalid wait context"
BALANCE, HELD, RCU = "bad unlock balance", "still has locks held", "suspicious RCU"
HANGS = ("deadlock", "lockup", "LOCKUP", "blocked for more")  # what it comes to, where it comes to it

#: name → threads, what is told in every way to run ("" for nothing)
PROGRAMS: dict[str, tuple[list[str], str]] = {
    "one lock, two threads": (["+s -s", "+s -s"], ""),
    "nested in one order": (["+s1 +s2 -s2 -s1", "+s1 +s2 -s2 -s1"], ""),
    "ABBA": (["+s1 +s2 -s2 -s1", "+s2 +s1 -s1 -s2"], CIRCLE),
    "ABBA of mutexes": (["+m1 +m2 -m2 -m1", "+m2 +m1 -m1 -m2"], CIRCLE),
    "a spin lock in a mutex": (["+m +s -s -m", "+m +s -s -m"], ""),
    "a circle over three CPUs": (["+s1 +s2 -s2 -s1", "+s2 +s3 -s3 -s2", "+s3 +s1 -s1 -s3"], CIRCLE),
    "three in one order": (["+s1 +s2 -s2 -s1", "+s2 +s3 -s3 -s2", "+s1 +s3 -s3 -s1"], ""),
    "released in another order": (["+s1 +s2 -s1 -s2", "+s1 -s1"], ""),
    "taken twice": (["+s +s -s -s"], RECURSIVE),
    "mutex taken twice": (["+m +m -m -m"], RECURSIVE),
    "two of one class": (["+s1 +s1' -s1' -s1"], RECURSIVE),
    "nested subclasses": (["+s1 +s1'/1 -s1'/1 -s1"], ""),
    "subclasses in both orders": (["+s1 +s1'/1 -s1'/1 -s1", "+s1'/1 +s1 -s1 -s1'/1"], CIRCLE),
    "trylock against the order": (["+s1 +s2 -s2 -s1", "+s2 ?s1 -s1 -s2"], ""),
    "waiting inside a trylock": (["+s1 +s2 -s2 -s1", "?s2 +s1 -s1 -s2"], CIRCLE),
    "trylock of mutexes both ways": (["+m1 ?m2 -m2 -m1", "+m2 ?m1 -m1 -m2"], ""),
    "rwlock shared twice": (["<r <r >r >r"], RECURSIVE),
    "rwlock shared by two": (["<r >r", "<r >r"], ""),
    "rwlock shared, then alone": (["<r +r -r >r"], RECURSIVE),
    "rwsem shared twice": (["<w <w >w >w"], RECURSIVE),
    "rwsem against a mutex": (["<w +m -m >w", "+m +w -w -m"], CIRCLE),
    "shared both ways, never alone": (["<w1 <w2 >w2 >w1", "<w2 <w1 >w1 >w2"], CIRCLE),
    "an interrupt takes it, interrupts off": (["off +s -s on", "irq: +s -s"], ""),
    "an interrupt takes it, interrupts on": (["+s -s", "irq: +s -s"], STATE),
    "a softirq takes it, softirqs off": (["bh +s -s bhon", "softirq: +s -s"], ""),
    "a softirq takes it, softirqs on": (["+s -s", "softirq: +s -s"], STATE),
    "an interrupt shares it, a thread shares it": (["<r >r", "irq: <r >r"], ""),
    "an interrupt shares it, a thread has it alone": (["+r -r", "irq: <r >r"], STATE),
    "unsafe inside safe": (["off +s1 +s2 -s2 -s1 on", "irq: +s1 -s1", "+s2 -s2"], INVERSION),
    "unsafe inside safe by way of a third": (
        ["off +s1 +s2 -s2 -s1 on", "off +s2 +s3 -s3 -s2 on", "irq: +s1 -s1", "+s3 -s3"],
        INVERSION,
    ),
    "softirq safety by way of an irq": (["bh +s1 -s1 bhon", "irq: +s1 -s1"], STATE),
    "a mutex in a spin lock": (["+s +m -m -s"], f"{SLEEP}|{CONTEXT}"),
    "a mutex with interrupts off": (["off +m -m on"], SLEEP),
    "a mutex in an interrupt": (["irq: +m -m", "+s -s"], f"{SLEEP}|{CONTEXT}"),
    "a spin lock in a raw one": (["+q +s -s -q"], ""),  # only a real-time kernel minds (raw_nesting is off)
    "sleeping in a spin lock": (["+s sleep -s"], SLEEP),
    "sleeping in RCU": (["rcu sleep /rcu"], SLEEP),
    "synchronize in RCU": (["rcu sync /rcu"], f"{SLEEP}|{RCU}"),
    "a spin lock in RCU": (["rcu +s -s /rcu", "+s sync -s"], f"{SLEEP}"),
    "RCU nests": (["rcu rcu /rcu /rcu sync"], ""),
    "RCU left twice": (["rcu /rcu /rcu"], RCU),
    "double unlock": (["+s -s -s"], BALANCE),
    "another's lock": (["+s complete", "wait -s"], f"{BALANCE}|{HELD}"),
    "kept at the end": (["+s"], HELD),
    "a completion under a mutex": (["+m wait -m", "complete"], ""),
    "waiting in a spin lock": (["+s wait -s", "complete"], SLEEP),
}


class Player:
    """The locks of one machine, by name, and what each word does."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.done = machine.make(Completion, "done")
        self.locks: dict[str, Any] = {}

    def lock(self, name: str) -> Any:
        """Made when first named: `s1'` is another lock of the class of `s1`."""
        if name not in self.locks:
            plain, _, subclass = name.partition("/")
            make = {
                "s": self.machine.spinlock,
                "q": self.machine.raw_spinlock,
                "m": self.machine.mutex,
                "r": self.machine.rwlock,
                "w": self.machine.rwsem,
            }[name[0]]
            self.locks[name] = make(plain.rstrip("'"), subclass=int(subclass or 0))
        return self.locks[name]

    async def play(self, words: str) -> None:
        """One line."""
        machine, irq, saved, failed = self.machine, self.machine.irq, [0], set[str]()
        for word in words.split():
            lock: Any = self.lock(word[1:]) if word[0] in "+-<>?" else None
            side = word[1:2] in "rw"
            if word[0] == "+":
                await (lock.acquire(True) if side else lock.acquire())
            elif word[0] == "-" and word[1:] not in failed:
                await (lock.release(True) if side else lock.release())
            elif word[0] == "<":
                await lock.acquire(False)
            elif word[0] == ">":
                await lock.release(False)
            elif word[0] == "?" and not await lock.trylock():
                failed.add(word[1:])
            elif word == "off":
                saved.append(irq.local_irq_save())
            elif word == "on":
                await irq.local_irq_restore(saved.pop())
            elif word == "bh":
                irq.local_bh_disable()
            elif word == "bhon":
                await irq.local_bh_enable()
            elif word == "rcu":
                await machine.rcu.read_lock()
            elif word == "/rcu":
                await machine.rcu.read_unlock()
            elif word == "sync":
                await machine.rcu.synchronize()
            elif word == "sleep":
                machine.might_sleep()
            elif word == "wait":
                await self.done.wait()
            elif word == "complete":
                await self.done.complete()


def scenario(lines: list[str], machine: Machine) -> Callable[[], str]:
    """The threads, each on a CPU of its own; interrupts come to CPU 0."""
    player = Player(machine)
    for line in lines:
        for word in line.split():
            if word[0] in "+<?":
                player.lock(word[1:])
    for cpu, line in enumerate(lines):
        kind, _, words = line.rpartition(": ")
        if kind:

            async def device(kind: str = kind, words: str = words) -> None:
                raises = machine.irq.interrupt if kind == "irq" else machine.irq.raise_softirq
                raises(machine.cpus[0], kind, lambda: player.play(words))

            machine.spawn(device(), cpu=cpu, name=f"device{cpu}")
        else:
            machine.spawn(player.play(words), cpu=cpu, name=f"t{cpu}")
    return lambda: "done"


def alone(lines: list[str]) -> list[Finding]:
    """One thread after the other."""
    machine = Machine(4)
    player = Player(machine)
    for line in sorted(lines, key=lambda line: "wait" in line):
        kind, _, words = line.rpartition(": ")
        try:
            if kind:
                raises = machine.irq.interrupt if kind == "irq" else machine.irq.raise_softirq
                raises(machine.cpus[0], kind, partial(player.play, words))
                machine.advance(100_000)
            else:
                machine.run(player.play(words))
        except Deadlock:
            pass
    return list(machine.findings)


def simulated(lines: list[str]) -> list[Finding]:
    """All at once, on the clock."""
    machine = Machine(4)
    scenario(lines, machine)
    machine.simulate()
    return list(machine.findings)


def explored(lines: list[str]) -> list[Finding]:
    """In every order."""
    found = explore(lambda machine: scenario(lines, machine))
    assert found.complete
    return [f.finding for f in found.findings if isinstance(f.finding, Finding)]


@pytest.mark.parametrize("way", [alone, simulated, explored])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_verdict_is_the_documentation_s(name: str, way: Callable[[list[str]], list[Finding]]) -> None:
    lines, expected = PROGRAMS[name]
    kinds = {finding.kind for finding in way(lines)}
    told = {kind for kind in kinds if not any(hang in kind for hang in HANGS)}
    wanted = expected.split("|") if expected else []
    assert bool(told) == bool(wanted), kinds
    assert all(any(text in kind for text in wanted) for kind in told), kinds


def test_there_are_forty() -> None:
    assert len(PROGRAMS) >= 40
