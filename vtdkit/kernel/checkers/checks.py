"""The checkers' side of the machine: what a primitive calls when something is wrong, and how
that becomes a `Finding`.

Each checker can be switched off; what it would have found then passes silently, as on a kernel built
without it: `lockdep` (vtdkit.kernel.checkers.lockdep), `sleep` (sleeping function called from
invalid context), `kasan` (use after free, double free), `races` (KCSAN, by happens-before), `rcu`,
`lists` (DEBUG_LIST), `leaks`.
"""

from __future__ import annotations

from sys import _getframe
from typing import TYPE_CHECKING, Any

from vtdkit.kernel.machine.context import AGENT, TASK, Context
from vtdkit.kernel.machine.irqflags import IrqFlags
from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.record.record import FOUND
from vtdkit.kernel.record.sites import ANYWHERE, Site, Spot, here, site, stack

from .findings import Finding, Findings

if TYPE_CHECKING:
    from vtdkit.kernel.locks.base import Lock
    from vtdkit.kernel.memory.pages import Page

    from .races import Access

SOFT_LOCKUP = (
    20_000_000_000  #: ns of spinning after which Linux's watchdog speaks up (twice kernel.watchdog_thresh)
)
HUNG_TASK = (
    120_000_000_000  #: ns of sleep in one place after which khungtaskd does (kernel.hung_task_timeout_secs)
)


class Checks(IrqFlags):
    """What primitives report to. Needs `findings`, `checkers`, `order` set before `setup_checks`."""

    findings: Findings
    checkers: frozenset[str]

    def setup_checks(self) -> None:
        """Prepare the checkers' own state (before the CPUs exist)."""
        self.objects: dict[int, KObject] = {}
        self.object_serial = 0
        self.watching = False
        self.object_names: list[str] = [""]
        self.object_kinds: list[str] = [""]
        self._words: dict[str, int] = {}
        self.replay_hint = ""

    def known_here(self) -> dict[int, int] | None:
        return self.order.snapshot(self.current) if self.order is not None else None

    def follow(self, context: Context, known: dict[int, int] | None) -> None:
        if known is not None:
            self.order.begin(context, known)

    # -- making findings -----------------------------------------------------

    def report(
        self,
        kind: str,
        where: str,
        places: tuple[Spot | Site | None, ...],
        *,
        contexts: tuple[str, ...] = (),
        text: str = "",
        about: Context | None = None,
    ) -> None:
        """Add a finding about the running context (or the one it is `about`)."""
        current: Context | None = about or getattr(self, "current", None)
        sites = tuple(
            place if isinstance(place, Site) else site(place) for place in places if place is not None
        )
        held = tuple(f"{hold.name} taken at {site(hold.place)}" for hold in current.held) if current else ()
        running = self.describe(current) if current else ""
        involved = (running, *(other for other in contexts if other != running))
        finding = Finding(
            kind, where, sites, involved, held, stack(_getframe(1)), text, self.now, self.replay_hint
        )
        if self.findings.add(finding):
            self.note_found(len(self.findings) - 1)

    def note_found(self, number: int) -> None:
        """Put a finding into the record."""
        rows = getattr(self, "rows", None)
        if rows is not None and self.current is not None:
            rows.extend((self.now, self.current.cpu_id, self.current.id, FOUND, 0, None, number))

    def describe(self, context: Context) -> str:
        """A context for a report: what it is, where it runs, what is off."""
        off = (
            []
            if not context.irqstate or context.kind != TASK
            else ["irqs off" if context.irqstate & 1 else "softirqs off"]
        )
        place = f" on CPU{context.cpu_id}" if context.cpu_id >= 0 else ""
        return f"{context.kind} {context.name}{place}" + "".join(f", {what}" for what in off)

    # -- sleeping ------------------------------------------------------------

    def might_sleep(self, place: Spot | None = None) -> None:
        """`might_sleep`: report it if the running context must not sleep here."""
        context = self.current
        if not context.preempt and not context.irqstate and context.kind == TASK and not context.rcu:
            return
        if "sleep" not in self.checkers or context.kind == AGENT:
            return
        text = f"{context.why_atomic()}, RCU nest depth: {context.rcu}"
        held = tuple(hold.place for hold in reversed(context.held))
        self.report(
            "BUG: sleeping function called from invalid context",
            _names(context),
            (place or here(), *held),
            text=text,
        )

    # -- memory --------------------------------------------------------------

    def use_after_free(self, page: Page, index: int, what: str) -> None:
        """A freed page was read or written."""
        if "kasan" in self.checkers:
            text = (
                f"{what} of word {index} of page {page.pfn:#x}, allocated at {site(page.allocated)}, "
                f"freed at {site(page.freed)}"
            )
            self.report("BUG: KASAN: use-after-free", page.name, (_driverhere(), page.freed), text=text)

    def out_of_bounds(self, page: Page, index: int, what: str) -> None:
        """A word before or after a page was read or written through it."""
        if "kasan" in self.checkers:
            text = (
                f"{what} of word {index} of page {page.pfn:#x}, which has words 0 to 511, allocated at "
                f"{site(page.allocated)}"
            )
            self.report("BUG: KASAN: out-of-bounds", page.name, (_driverhere(), page.allocated), text=text)

    def failed(self, context: Context, error: BaseException) -> None:
        self.wrong_pointer(error)
        super().failed(context, error)

    def wrong_pointer(self, error: BaseException) -> None:
        """A thread has failed: if it asked a driver object for a field that there is none of, that
        is a finding too.
        """
        if isinstance(error, AttributeError) and isinstance(error.obj, KObject):
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            if trace is not None:
                self.no_such_field(
                    error.obj, error.name or "?", ANYWHERE.spot(trace.tb_frame.f_code, trace.tb_lasti)
                )

    def no_such_field(self, obj: KObject, field: str, place: Spot) -> None:
        """A field was accessed that the object does not have: memory beyond it, or another kind of object."""
        if "kasan" in self.checkers:
            text = f"{type(obj).__name__} has no shared field {field!r}, allocated at {site(obj.allocated)}"
            self.report("BUG: KASAN: slab-out-of-bounds", obj.label, (place,), text=text)

    def double_free(self, what: Any, place: Spot | None) -> None:
        """A page or object was freed that had been freed before."""
        if "kasan" in self.checkers:
            name = getattr(what, "label", None) or what.name
            self.report("BUG: KASAN: double-free", name, (place, what.freed))

    def touch_field(self, obj: KObject, field: str, write: bool, place: Spot, marked: bool) -> None:
        """A driver object's shared field is accessed."""
        if obj.freed is not None and "kasan" in self.checkers:
            what = "write" if write else "read"
            text = f"{what} of field {field}, allocated at {site(obj.allocated)}, freed at {site(obj.freed)}"
            self.report("BUG: KASAN: slab-use-after-free", obj.label, (place, obj.freed), text=text)
        order = self.order
        if order is not None and order.on:
            (order.write if write else order.read)(self.current, obj.cells[field], obj, field, place, marked)

    def data_race(self, obj: KObject, field: str, now: tuple[str, Spot], earlier: tuple[str, Access]) -> None:
        """Two accesses of a field are not ordered and at least one is a plain write (KCSAN)."""
        text = f"{now[0]} here, {earlier[0]} by {earlier[1].name}, with nothing that orders them"
        where = obj.name_of_field(field)
        self.report(
            "BUG: KCSAN: data-race", where, (now[1], earlier[1].place), contexts=(earlier[1].name,), text=text
        )

    def list_corruption(self, lst: Any, entry: Any, kind: str, why: str, place: Spot) -> None:
        """A list operation found the list not as it should be (DEBUG_LIST)."""
        if "lists" in self.checkers:
            self.report(kind, lst.label, (place,), text=f"{entry!r}: {why}")

    def refcount_misuse(self, ref: Any, kind: str, place: Spot) -> None:
        """A reference count went where it must not."""
        self.report(kind, ref.name, (place,))

    def new_object(self, obj: KObject) -> int:
        """A watched object exists from now on: accesses are followed."""
        self.object_serial += 1
        self.watching = bool(self.checkers & {"kasan", "races"}) or self.exploring
        if self.order is not None:
            self.order.on = True
        return self.object_serial

    def slept_in_interrupt(self, context: Context) -> None:
        if context.kind != AGENT and "sleep" in self.checkers:
            self.report(
                "BUG: scheduling while atomic",
                _names(context),
                (_driverhere(),),
                text=f"{context.name} is no thread",
            )

    exploring = False
    order: Any = None

    # -- RCU, waiting for ever -----------------------------------------------

    def rcu_misuse(self, what: str, context: Context) -> None:
        """A rule of RCU was broken."""
        if "rcu" in self.checkers:
            self.report("WARNING: suspicious RCU usage", what, (_driverhere(),))

    def spins_for_ever(self, context: Context, lock: Lock, place: Spot) -> None:
        """A context spins for a lock that its own CPU holds below it: that cannot end."""
        owner = lock.owner
        who = self.describe(owner) if owner is not None else "readers"
        text = (
            f"CPU{context.cpu_id} spins for {lock.name}, which {who} holds; that context cannot run "
            "until "
            "this one ends"
        )
        self.report("watchdog: BUG: soft lockup", lock.name, (place, lock.place), contexts=(who,), text=text)

    def why_stuck(self, context: Context) -> str:
        """Who waits for whom, from `context` on."""
        chain: list[str] = []
        seen: list[Context] = []
        while context is not None and context not in seen:
            seen.append(context)
            owner = getattr(context.waiting, "owner", None)
            what = getattr(context.waiting, "name", context.waiting)
            if (
                context.waiting is None
                and context.cpu is not None
                and context.cpu.task not in (None, context)
            ):
                owner, what = context.cpu.task, f"CPU{context.cpu_id}"
            chain.append(f"{context.name} waits for {what}")
            if owner is None:
                break
            chain[-1] += f" held by {owner.name}"
            context = owner
        return ", ".join(chain)

    def report_stuck(self, all_over: bool) -> None:
        """After a simulation: threads that still wait although nothing is left to happen (`all_over`), or
        wait in a circle, or have waited for longer than the kernel's watchdogs allow."""
        for context in self.contexts:
            if context.done or context.kind == AGENT or context.waiting is None:
                continue
            asleep = context.kind == TASK and (context.cpu is None or context.cpu.task is not context)
            patience = HUNG_TASK if asleep else SOFT_LOCKUP
            if not all_over and self.now - context.since < patience and not self.waits_in_a_circle(context):
                continue
            kind = "INFO: task blocked for more than 120 seconds" if asleep else "watchdog: BUG: soft lockup"
            name = getattr(context.waiting, "name", str(context.waiting))
            if not any(name == finding.where for finding in self.findings.of("soft lockup")):
                held = tuple(hold.place for hold in context.held)
                self.report(
                    kind,
                    name,
                    held,
                    contexts=(self.describe(context),),
                    text=self.why_stuck(context),
                    about=context,
                )

    def waits_in_a_circle(self, context: Context) -> bool:
        """Does `context` wait for something whose owner waits ... for `context`?"""
        seen: list[Context] = []
        owner: Context | None = context
        while owner is not None and owner not in seen:
            seen.append(owner)
            owner = getattr(owner.waiting, "owner", None)
        return owner is context


def _names(context: Context) -> str:
    names = [hold.name for hold in context.held]
    return ", ".join(names) if names else f"{context.kind} context"


def _driverhere() -> Spot | None:
    """The innermost frame that is not the kernel room's."""
    frame = _getframe(2)
    while frame is not None:
        if "/vtdkit/kernel/" not in frame.f_code.co_filename.replace("\\", "/"):
            return ANYWHERE.at(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return None
