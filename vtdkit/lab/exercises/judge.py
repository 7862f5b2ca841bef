"""The judge of all exercises whose answer is code.

An answer is run on a set of machines (`scenes`), each also with every one of its allocations failing in turn,
and in every order where threads meet (`races`). Each run is compared with the same run of our solution:

| what | a difference |
|---|---|
| `returns` | what each call returned, and what came of the scene |
| `findings` | the checkers say something else |
| `locks` | another lock is taken, or one with interrupts on where ours has them off |
| `unlocked` | a lock is not taken at all |
| `under` | a wait, an allocation, another lock while a lock is held under which ours does no such thing |
| `guards` | something shared is touched without the lock that ours, or the rest of the driver, holds for it |
| `allocations` | more than ours |
| `commands` | what the unit is told, in which order, and what its tables said at that moment |
| `tables` | what the unit's tables say in the end, as the hardware reads them |
| `state` | a field of a structure in the end |
| `pages`, `objects`, `references` | what is left over, or missing, whatever it is called |

What differs and is right all the same is named in `ignore` where the exercise is declared. In every order,
each outcome must be one that ours has too, and each finding.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.explorer.schedule import Schedule
from vtdkit.kernel.explorer.system import Outcome
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.scenarios.base import Observer, Scenario

from . import student
from .compare import LOCKED, SEEN, compare
from .exercise import Exercise, Said
from .watched import Guards, Scene, Seen, observe

MOST_FAILURES = 6  # allocations that are made to fail, one after the other
MANY_RUNS = 12  # a judge of a lesson's own may run an answer so many times as long
MOST_ORDERS = 600  # executions of one scenario


@dataclass(frozen=True, slots=True)
class Orders:
    """What comes of a scenario in every order: the outcomes, and the findings (kind and place)."""

    values: frozenset[Hashable]
    findings: frozenset[tuple[str, str]]


Run = tuple[str, Seen, Seen]  # when, ours, the student's


class _Told(Exception):
    """Ends an exploration at the first order that tells an answer from ours."""


@dataclass(slots=True, repr=False)
class CodeExercise(Exercise):
    """An exercise whose answer is code. `answer(seed)` is our solution, the only copy of it.

    - `base` the driver version whose function of that name the answer replaces; `install(function)` where it
      is not as simple as that
    - `scenes` situations to run it in, `races` scenarios to run in every order
    - `ignore` what need not be as in ours (a name from the table above); `forbids` locks that the text
      forbids, `"any"` for all
    - `judge(seed, function)` says what else is wrong, None if nothing; `play(seed, function)` runs the code
      once and returns something to look at
    """

    base: type[IntelIommu] | None = None
    install: Callable[[Any], type[IntelIommu]] | None = None
    scenes: Sequence[Scene] = ()
    races: Sequence[Scenario] = ()
    ignore: Sequence[str] = ()
    forbids: Sequence[str] = ()
    most_orders: int = MOST_ORDERS
    judge: Callable[[int, Any], str | None] = lambda seed, given: None
    play: Callable[[int, Any], Any] = lambda seed, given: None
    known: dict[Any, Any] = field(default_factory=dict, compare=False)  # what our solution shows, kept

    # -- for the notebook

    def check(self, given: Any) -> Said:
        """Whether an answer is right; else what is wrong with it. A hint only for an answer that runs."""
        problem, costs = self.problem(given)
        if problem is None:
            return Said("Right", "", right=True)
        if not costs:
            return Said("Not yet", problem)
        return self.not_yet(problem)

    def try_out(self, given: Any) -> Any:
        """Run the code once and show what it does; if it cannot be run, say why."""
        if student.unanswered(given):
            return Said("Not yet", student.NOT_WRITTEN)
        if problem := self._text_problem(given):
            return Said("Not yet", problem)
        shown, problem, _ = student.attempt(lambda _: self.play(self.seed, given), given)
        return shown if problem is None else Said("Not yet", problem)

    def solution(self) -> Said:
        """Our solution: its source, checked as any answer is."""
        ours = self.answer(self.seed)
        text = textwrap.dedent(inspect.getsource(ours)).strip()
        verdict = self.seeded(self.seed).check(ours)
        return Said("Solution", f"{text}\n\n{verdict!r}", right=bool(verdict), code=True)

    # -- the judgement

    def problem(self, given: Any) -> tuple[str | None, bool]:
        """What is wrong with an answer, None if nothing; and whether that costs a hint."""
        if student.unanswered(given):
            return student.NOT_WRITTEN if callable(given) else student.NO_ANSWER, False
        if problem := self._text_problem(given):
            return problem, False
        runs: list[Run] = []
        problem, costs = self._in_scenes(given, runs)
        for part in (self._in_every_order, self._else):
            if problem is None:
                problem, costs = part(given)
        # what no order has shown to go wrong is still wrong if a lock is missing
        return (problem, costs) if problem is not None else (self._unlocked(runs), True)

    def _text_problem(self, given: Any) -> str | None:
        ours = self.answer(self.seed)
        return student.wrong_kind(given, ours) or student.forgotten_await(given, ours, self.version(ours))

    def _else(self, given: Any) -> tuple[str | None, bool]:
        found, problem, costs = student.attempt(
            lambda _: self.judge(self.seed, given), given, MANY_RUNS * student.PATIENCE
        )
        return (problem, costs) if problem is not None else (found, True)

    def version(self, function: Any) -> type[IntelIommu]:
        """The driver with this function in it."""
        if self.install is not None:
            return self.install(function)
        if self.base is None:
            return IntelIommu
        return version_with(self.base, function, self.name_in_driver)

    @property
    def name_in_driver(self) -> str:
        """The driver's function that the answer stands for; "" where it is not one of the driver's."""
        return str(self.answer(self.seed).__name__) if self.base is not None else ""

    # -- on a set of machines

    def _in_scenes(self, given: Any, runs: list[Run]) -> tuple[str | None, bool]:
        for scene, fail in self._runs():
            seen, problem, costs = student.attempt(
                lambda _, s=scene, f=fail: self._observe(s, given, f),  # type: ignore[misc]
                given,
            )
            when = scene.name + (f", allocation {fail} fails" if fail else "")
            if problem is not None:
                return f"{when}: {problem}", costs
            ours = self._ours(scene, fail)
            for difference in compare(ours, seen, SEEN, self.ignore, self.forbids):
                return f"{when}: {difference}", True
            runs.append((when, ours, seen))
        return None, False

    def _runs(self) -> list[tuple[Scene, int]]:
        return [(scene, fail) for scene in self.scenes for fail in range(self._failures(scene) + 1)]

    def _unlocked(self, runs: Sequence[Run]) -> str | None:
        guards: Guards = {}
        for _, ours, _ in runs:  # what ours touches without a lock in one scene, it may in another
            for thing, held in ours.guards.items():
                guards.setdefault(thing, set()).update(held)
        for when, ours, seen in runs:
            for difference in compare(replace(ours, guards=guards), seen, LOCKED, self.ignore):
                return f"{when}: {difference}"
        return None

    def _observe(self, scene: Scene, function: Any, fail: int) -> Seen:
        return observe(scene, self.version(function), self.name_in_driver, fail)

    def _ours(self, scene: Scene, fail: int) -> Seen:
        key = (scene.name, fail)
        if key not in self.known:
            self.known[key] = self._observe(scene, self.answer(self.seed), fail)
        found: Seen = self.known[key]
        return found

    def _failures(self, scene: Scene) -> int:
        return min(self._ours(scene, 0).allocations, MOST_FAILURES) if scene.fails else 0

    # -- in every order

    def _in_every_order(self, given: Any) -> tuple[str | None, bool]:
        for scene in self.races:
            ours = self._our_orders(scene)
            told, problem, costs = student.attempt(
                lambda dog, s=scene, o=ours: self._first_difference(s, o, given, dog),  # type: ignore[misc]
                given,
            )
            if problem is not None or told is not None:
                return f"{scene.about}: {problem or told}", costs or told is not None
        return None, False

    def _first_difference(
        self, scene: Scenario, ours: Orders, function: Any, dog: student.Watchdog
    ) -> str | None:
        tried, version = 0, self.version(function)

        def build(machine: Machine) -> Observer:
            dog.pet()
            return scene.build(version, machine)

        def look(outcome: Outcome, schedule: Schedule) -> None:
            nonlocal tried
            tried += 1
            for kind, where in _found(outcome):
                if (kind, where) not in ours.findings:
                    raise _Told(f"in order number {tried} of those tried, {kind}: {where}")
            if outcome.value not in ours.values:
                raise _Told(f"in order number {tried} of those tried it ends so: {outcome.value}")

        try:
            explore(
                scene.on(self.version(function)), cpus=scene.cpus, limit=self.most_orders, on_outcome=look
            )
        except _Told as told:
            return str(told)
        return None

    def _our_orders(self, scene: Scenario) -> Orders:
        key = ("orders", scene.name)
        if key not in self.known:
            values: set[Hashable] = set()
            findings: set[tuple[str, str]] = set()

            def look(outcome: Outcome, schedule: Schedule) -> None:
                values.add(outcome.value)
                findings.update(_found(outcome))

            version = self.version(self.answer(self.seed))
            explore(scene.on(version), cpus=scene.cpus, limit=self.most_orders, on_outcome=look)
            self.known[key] = Orders(frozenset(values), frozenset(findings))
        found: Orders = self.known[key]
        return found


def _found(outcome: Outcome) -> Iterator[tuple[str, str]]:
    for each in outcome.findings:
        yield str(getattr(each, "kind", type(each).__name__)), str(getattr(each, "where", ""))


def version_with(driver: type[IntelIommu], function: Any, name: str = "") -> type[IntelIommu]:
    """A driver version that has one function more, or another one in its place: how a student's code
    gets into a driver.

    Raises TypeError if it is not a function.
    """
    if not callable(function):
        raise TypeError(f"a driver is made of functions; this is {function!r}")
    return type("Yours", (driver,), {name or function.__name__: function, "title": "your version"})
