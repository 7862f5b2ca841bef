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
| `sleeps` | it may sleep, and ours never does |
| `guards` | something shared is touched without the lock that ours, or the rest of the driver, holds for it |
| `allocations` | more than ours |
| `commands` | what the unit is told, in which order, and what tables and lists said at that moment |
| `told` | a register that is written, cache lines that are written back; before or after entries are |
| `stored` | an entry is written by a plain store, and ours changes it by an atomic operation |
| `tables` | what the unit's tables say in the end, as the hardware reads them |
| `state` | a field of a structure in the end |
| `left` | pages, objects, references that are left over, or missing, whatever they are called |

In every order, each outcome must be one that ours has too, and each finding.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.explorer.schedule import Schedule
from vtdkit.kernel.explorer.system import Outcome
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.scenarios.base import Observer, Scenario

from . import student
from .compare import compare, unlocked
from .exercise import Exercise, Said
from .student import WrongError
from .watched import WARNING, Guards, Scene, Seen, observe

Run = tuple[str, Seen, Seen]  # when, ours, the student's
Orders = set[tuple[Hashable, ...]]  # what comes of a scenario: findings (kind, place), outcomes alone
MOST_FAILURES = 6  # allocations that are made to fail, one after the other
MANY_RUNS = 12  # a judge of a lesson's own may run an answer so many times as long
MOST_ORDERS = 600  # executions of one scenario


@dataclass(slots=True, repr=False)
class CodeExercise(Exercise):
    """An exercise whose answer is code. `answer(seed)` is our solution, the only copy of it.

    - `base` the driver version whose function of that name the answer replaces
    - `scenes` situations to run it in, `races` scenarios to run in every order
    - `forbids` locks that the text forbids, `"any"` for all; `allows` locks that do no harm though ours
      does without; `once` locks that the text lets it take no more often than ours does
    - `judge(seed, function)` says what else is wrong, None if nothing; `play(seed, function)` runs the code
      once and returns something to look at
    """

    base: type[IntelIommu] = IntelIommu
    scenes: Sequence[Scene] = ()
    races: Sequence[Scenario] = ()
    forbids: Sequence[str] = ()
    allows: Sequence[str] = ()
    once: Sequence[str] = ()
    most_orders: int = MOST_ORDERS
    judge: Callable[[int, Any], str | None] = lambda seed, given: None
    play: Callable[[int, Any], Any] = lambda seed, given: None
    known: dict[Any, Any] = field(default_factory=dict, compare=False)  # what our solution shows, kept

    def try_out(self, given: Any) -> Any:
        """Run the code once and show what it does; if it cannot be run, say why."""
        try:
            self._readable(given)
            return student.attempt(lambda _: self.play(self.seed, self._at_home(given)), given)
        except WrongError as wrong:
            return Said("Not yet", str(wrong))

    def _readable(self, given: Any) -> None:
        student.answered(given)
        student.readable(given, self.answer(self.seed), self.base)
        student.catches_nothing(given)

    def _at_home(self, given: Any) -> Any:
        """The function with the names that it would find where our solution stands, and the driver's own."""
        ours = self.answer(self.seed)
        driver = getattr(self.base, ours.__name__, ours)
        return student.with_names(given, getattr(driver, "__globals__", {}) | ours.__globals__)

    def version(self, function: Any) -> type[IntelIommu]:
        """The driver with this function in it."""
        return version_with(self.base, function, self.answer(self.seed).__name__)

    # -- the judgement

    def judged(self, given: Any) -> None:
        """Raise `WrongError` for the first difference that is found."""
        self._readable(given)
        given = self._at_home(given)
        runs = [self._in_scene(scene, fail, given) for scene in self.scenes for fail in self._failures(scene)]
        for race in self.races:
            ours = self._ours(race.name, partial(self._orders, race, self.answer(self.seed)))
            student.attempt(partial(self._orders, race, given, ours), given, f"{race.about}: ")
        said = student.attempt(
            lambda _: self.judge(self.seed, given), given, seconds=MANY_RUNS * student.PATIENCE
        )
        # what no order has shown to go wrong is still wrong if a lock is missing
        if said or (said := self._unlocked(runs)):
            raise WrongError(said)

    def _ours(self, key: Hashable, run: Callable[[], Any]) -> Any:
        """What our solution shows, run once."""
        if key not in self.known:
            self.known[key] = run()
        return self.known[key]

    # -- on a set of machines

    def _in_scene(self, scene: Scene, fail: int, given: Any) -> Run:
        when = scene.name + (f", allocation {fail} fails" if fail else "") + ": "
        ours = self._reference(scene, fail)
        seen = student.attempt(lambda _: self._observe(scene, given, fail), given, when)
        for difference in compare(ours, seen, self.forbids, self.allows, self.once):
            raise WrongError(when + difference)
        return when, ours, seen

    def _failures(self, scene: Scene) -> range:
        """Which allocation fails, one after the other, after a run in which none does (0)."""
        return range(1 + (min(self._reference(scene, 0).allocations, MOST_FAILURES) if scene.fails else 0))

    def _reference(self, scene: Scene, fail: int) -> Seen:
        run = partial(self._observe, scene, self.answer(self.seed), fail)
        return cast(Seen, self._ours((scene.name, fail), run))

    def _observe(self, scene: Scene, function: Any, fail: int) -> Seen:
        return observe(scene, self.version(function), self.answer(self.seed).__name__, fail)

    def _unlocked(self, runs: Sequence[Run]) -> str:
        guards: Guards = {}
        for _, ours, _ in runs:  # what ours touches without a lock in one scene, it may in another
            for thing, held in ours.guards.items():
                guards.setdefault(thing, set()).update(held)
        return next((when + each for when, ours, seen in runs for each in unlocked(ours, seen, guards)), "")

    # -- in every order

    def _orders(
        self, scene: Scenario, function: Any, ours: Orders | None = None, dog: student.Watchdog | None = None
    ) -> Orders:
        """Run a scenario in every order; given ours, raise `WrongError` at the first that is another."""
        shown, tried, version = Orders(), 0, self.version(function)

        def build(machine: Machine) -> Observer:
            if dog is not None:
                dog.pet()
            return scene.build(version, machine)

        def look(outcome: Outcome, schedule: Schedule) -> None:
            nonlocal tried
            tried += 1
            found = set(map(_sign, outcome.findings))
            if ours is not None:
                for kind, where in sorted(found - ours):
                    raise WrongError(f"in order number {tried} of those tried, {kind}: {where}")
                if (outcome.value,) not in ours:
                    raise WrongError(f"in order number {tried} of those tried it ends so: {outcome.value}")
            shown.update(found, [(outcome.value,)])

        explore(build, cpus=scene.cpus, limit=self.most_orders, on_outcome=look)
        return shown


def _sign(finding: Any) -> tuple[str, str]:
    """Kind and place of a finding; what a warning says is up to its author."""
    kind = getattr(finding, "kind", type(finding).__name__)
    return WARNING if kind == WARNING[0] else (kind, getattr(finding, "where", ""))


def version_with(driver: type[IntelIommu], function: Any, name: str = "") -> type[IntelIommu]:
    """A driver version that has one function more, or another one in its place: how a student's code
    gets into a driver.

    Raises TypeError if it is not a function.
    """
    if not callable(function):
        raise TypeError(f"a driver is made of functions; this is {function!r}")
    return type("Yours", (driver,), {name or function.__name__: function, "title": "your version"})
