"""What the patches say of themselves: locks, lists, and what needs none.

Claims 1 to 3 and 5 to 11. What decides them: every operation of the lock table on a watched machine (who
touches what under which locks), the functions of a version that name a field, the lock table, the scaling
curves, and two scenes in which an interrupt unmaps.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from types import CodeType
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.iommu.intel.fault import FaultHandler
from vtdkit.kernel.machine.context import HARDIRQ, SOFTIRQ
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.record.record import ACQUIRE
from vtdkit.lab import locktable, scaling
from vtdkit.lab.computer import LEGACY, SCALABLE, Computer
from vtdkit.lab.exercises.watched import Guards, Scene, WatchedMachine, Work, observe
from vtdkit.lab.findings.looking import look
from vtdkit.lab.operations import IOVA, OPERATIONS, PAGE, Operation, with_devices
from vtdkit.lab.scaling import Version, driver_of
from vtdkit.lab.scenarios.base import Observer
from vtdkit.lab.scenarios.unmap import unmap_irq, unmap_timer
from vtdkit.series.catalogue import driver_at
from vtdkit.series.p04_pgtable_walk import Patch04

from .claim import Claim, Measured

D, L = "device_domain_lock", "&iommu->lock"
LISTS = "device_domain_list", "domain->devices"
TABLES = {
    "context entries": r".* context table #",
    "PASID entries": r"PASID entries .*",
    "domain ids": r"intel_iommu\.domain_ids",
}
MODES = {"legacy": LEGACY, "scalable": SCALABLE}

# -- 1, 2: which lock guards what --------------------------------------------------


def touched(version: Version, names: Iterable[str] = (), modes: Iterable[str] = tuple(MODES)) -> Guards:
    """What the operations of the lock table touch, read or written, and under which locks."""
    found: Guards = {}
    wanted = list(names)
    for operation in OPERATIONS:
        for mode in modes if not wanted or operation.name in wanted else ():
            machine = WatchedMachine(2, 0)
            pc = Computer(
                driver=driver_of(version),
                machine=machine,
                devices=(),
                units=[MODES[mode]] * 2,
                scalable=mode == "scalable",
            )
            work = operation.prepare(pc)
            machine.seen.elsewhere.clear()
            pc.run(work())
            for thing, locks in machine.seen.elsewhere.items():
                found.setdefault(thing, set()).update(locks)
    return found


def unguarded(found: Guards, pattern: str, lock: str, write: bool = True) -> bool | None:
    """Is something of this name written (or read) without the lock? None if it never is at all."""
    held = [
        locks for (name, writes), locks in found.items() if re.fullmatch(pattern, name) and writes is write
    ]
    return any(lock not in each for locks in held for each in locks) if held else None


ATTACHING = [operation.name for operation in OPERATIONS if "tach" in operation.name]


def iommu_lock_guards(version: Version) -> Measured:
    """Is every change of a context entry, a PASID entry, the domain ids under `iommu->lock`?"""
    found = touched(version, ATTACHING)
    bare = {what: unguarded(found, pattern, L) for what, pattern in TABLES.items()}
    assert None not in bare.values(), bare
    told = ", ".join(f"{what} {'yes' if yes else 'no'}" for what, yes in bare.items())
    return Measured(not any(bare.values()), f"changed without iommu->lock while devices come and go: {told}")


def device_lock_guards(version: Version) -> Measured:
    """Is every change of a device list under `device_domain_lock`? And who reads one without?"""
    found = touched(version, modes=["legacy"])
    edits = {name: unguarded(found, name, D) for name in LISTS}
    told = ", ".join(f"{name} {'yes' if yes else 'no'}" for name, yes in edits.items() if yes is not None)
    walks = "walks device_domain_list without it" if _walks_list(version) else "walks no such list"
    return Measured(
        not any(edits.values()), f"changed without device_domain_lock: {told}; the fault interrupt {walks}"
    )


def _walks_list(version: Version) -> bool:
    """Does the fault interrupt, which takes no lock, walk the list of all devices?"""
    walk = inspect.getattr_static(driver_of(version), "pgtable_walk")
    return walk is FaultHandler.pgtable_walk


# -- 3, 5, 6: what is named where --------------------------------------------------


def names_in(code: CodeType) -> set[str]:
    """Every attribute and global that some code names, the functions inside it included."""
    inside = [each for each in code.co_consts if isinstance(each, CodeType)]
    return {*code.co_names}.union(*map(names_in, inside))


def users(driver: type, field: str) -> list[str]:
    """The functions of a version that name a field."""
    functions = {name: inspect.getattr_static(driver, name) for name in dir(driver)}
    return sorted(
        name
        for name, each in functions.items()
        if inspect.isfunction(each)
        and field in names_in(inspect.unwrap(each).__code__)
        and name != "init_locks"
    )


def in_debugfs(name: str) -> bool:
    """Is it a function of debugfs.c? The other files but iommu.c take this lock nowhere."""
    return any(name in vars(cls) and cls.__module__.endswith(".debugfs") for cls in IntelIommu.__mro__)


def can_be_static(version: Version) -> Measured:
    """Does only one C file use the lock?"""
    everybody = users(driver_of(version), D)
    outside = list(filter(in_debugfs, everybody))
    taken = locktable.lock_table([version], ["domain dump, 2 domains"])[0].device_lock[0]
    return Measured(
        not outside and not taken,
        f"{len(everybody)} functions use it, outside iommu.c: {', '.join(outside) or 'none'}; the debug file "
        f"takes it {taken} times",
    )


def no_users_left(driver: type) -> Measured:
    """Does nothing name the list of all devices any more?"""
    left = users(driver, "device_domain_list")
    many = [str(len(users(driver_at(number), "device_domain_list"))) for number in range(5)]
    return Measured(not left, f"users left: {', '.join(left) or 'none'}; patch by patch {', '.join(many)}")


def only_patch_04() -> type:
    """Patch 04 without the three before it."""
    body = {name: value for name, value in vars(Patch04).items() if not name.startswith("__")}
    body.pop("init_locks", None)
    return type("Only04", (IntelIommu,), body)


def goals(version: Version) -> Measured:
    """Which of the five things that the cover letter promises are there?"""
    before, after = (locktable.lock_table([each], ["probe", "detach, last, ATS"]) for each in (0, version))
    pc = Computer(driver=driver_of(version), checkers=())
    lock = getattr(pc.dmar(pc.domain_of("00:03.0")), "mutex", None)
    reached = {
        "no list of all devices": not users(driver_of(version), "device_domain_list"),
        "probing takes no lock": after[0].device_lock[0] < before[0].device_lock[0],
        "a shorter hold": after[1].device_lock[1] < before[1].device_lock[1],
        "a lock for each domain": not hasattr(pc.driver, D),
        "a mutex": type(lock).__name__ == "Mutex",
    }
    missing = [name for name, there in reached.items() if not there]
    held = f"detach holds the device lock {before[1].device_lock[1]} ns, then {after[1].device_lock[1]}"
    return Measured(
        not missing,
        f"{len(reached) - len(missing)} of 5 ({held})" + "".join(f"; not: {each}" for each in missing),
    )


# -- 7: a review -------------------------------------------------------------------


def as_it_should(version: str) -> Measured:
    """Do the scenes of a fault find nothing wrong in patch 04's function?"""
    found = [each for scene in ("fault-bus", "fault-reference") for each in look(version, scene)]
    names = Counter(each.defect.name if each.defect else each.kind for each in found)
    return Measured(not found, "found when a fault is dumped: " + (", ".join(sorted(names)) or "nothing"))


# -- 8 to 10: how long it is held --------------------------------------------------


def local_is_faster(cpus: int, domains: int) -> Measured:
    """Do CPUs get more unmaps done, each in its domain, when the lock is the domain's own?"""
    before, after = (scaling.measure(version, cpus, domains=domains, lasting=60_000) for version in (11, 12))
    gain = after.ops_per_second / before.ops_per_second
    where = "each in its own domain" if domains == cpus else "all in one domain"
    return Measured(
        gain > 1.5,
        f"{cpus} CPUs, {where}: {gain:.1f} times the unmaps; waiting for locks "
        f"{before.wait_share:.0%} of the time, then {after.wait_share:.0%}",
    )


def hold_grows(ats: bool) -> Measured:
    """Does an unmap hold the lock longer, the more devices the domain has?"""

    def prepare(pc: Computer, devices: int) -> Work:
        domain, _ = with_devices(pc, *[0] * devices, ats=ats)
        pc.map(domain, IOVA, IOVA)
        return lambda: pc.core.iommu_unmap(domain, IOVA, PAGE)

    counts = (1, 2, 4)
    costs = [locktable.measure(0, Operation("unmap", partial(prepare, devices=each))) for each in counts]
    held = [cost.device_lock[1] for cost in costs]
    off = ", ".join(str(cost.irqs_off) for cost in costs)
    return Measured(
        held[0] > 0 and all(each == held[0] * devices for devices, each in zip(counts, held, strict=True)),
        f"with {', '.join(map(str, counts))} devices {'with' if ats else 'without'} ATS the lock is held "
        f"{', '.join(map(str, held))} ns, interrupts are off {off}",
    )


def _flush(pc: Computer) -> Work:
    domain, _ = with_devices(pc, 0, ats=True)
    return lambda: pc.driver.iommu_flush_dev_iotlb(pc.dmar(domain), IOVA, 0)


def no_spin_lock(version: Version) -> Measured:
    """Is no spin lock held while a device's TLB is waited for? And are interrupts on?"""
    seen = observe(Scene("flush", _flush), driver_of(version), "iommu_flush_dev_iotlb")
    waits = sorted(lock for lock, what in seen.under if what == "waits for the hardware")
    spins = [lock for lock in waits if not lock.endswith("mutex")]
    cost = locktable.lock_table([version], ["unmap, 1 unit, 1 ATS"])[0]
    return Measured(
        not spins,
        f"held during the wait: {', '.join(waits) or 'nothing'}; interrupts are off {cost.irqs_off} ns in "
        f"one piece, {cost.irqs_off_total} ns of {cost.duration} in all",
    )


# -- 11: interrupts ----------------------------------------------------------------


def taken_in_interrupts(driver: type[IntelIommu], build: Callable[..., Observer]) -> int:
    """How often the lock of a device list is taken in an interrupt while a scene runs."""
    machine = Machine(cpus=3, checkers=())
    build(driver, machine)
    machine.simulate()
    trace = machine.trace()
    return sum(
        kind == ACQUIRE
        and trace.objects[obj] in locktable.DEVICE_LOCKS
        and trace.context_kinds[context] in (HARDIRQ, SOFTIRQ)
        for _, _, context, kind, obj, _, _ in trace.rows()
    )


class WithoutAts(IntelIommu):
    """A driver that uses no device TLB."""

    async def iommu_enable_dev_iotlb(self, info: Any) -> None:
        """Nothing is switched on."""


def never_in_interrupts(driver: type[IntelIommu]) -> Measured:
    """Is no device list touched when a completion interrupt unmaps, or the flush queue's timer flushes?"""
    hard, soft = (taken_in_interrupts(driver, build) for build in (unmap_irq, unmap_timer))
    return Measured(
        not hard + soft, f"its lock is taken in a hard interrupt {hard} times, in a timer's soft one {soft}"
    )


# -- the claims --------------------------------------------------------------------

COVER, LU = "Lu Baolu, 27 May, cover letter", "Lu Baolu, 27 May, of patch {}"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        1,
        COVER,
        "iommu->lock protects context tables, PASID tables and domain ids",
        "07",
        partial(iommu_lock_guards, 0),
        partial(iommu_lock_guards, 7),
    ),
    Claim(
        2,
        COVER,
        "device_domain_lock protects the lists of devices, the global one and each domain's",
        "04",
        partial(device_lock_guards, 0),
        partial(device_lock_guards, 12),
    ),
    Claim(
        3,
        COVER,
        "the list of all devices goes, needless locking goes, holds get shorter, the global lock becomes "
        "local, the spin lock a mutex",
        "12",
        partial(goals, 12),
        partial(goals, "6.0-rc5"),
    ),
    Claim(
        5,
        LU.format("01"),
        "with debugfs asking the core, device_domain_lock is needed in one file only and can be static",
        "01",
        partial(can_be_static, 1),
        partial(can_be_static, 0),
    ),
    Claim(
        6,
        LU.format("04"),
        "nobody uses the list of all devices any more",
        "04",
        lambda: no_users_left(driver_at(4)),
        lambda: no_users_left(only_patch_04()),
    ),
    Claim(
        7,
        "Kevin Tian, 1 June",
        "patch 04 is reviewed, and nothing is wrong with it",
        "04",
        partial(as_it_should, "v4"),
        partial(as_it_should, "m13"),
    ),
    Claim(
        8,
        LU.format("12"),
        "one lock for the lists of all domains is inefficient, in hot paths most of all",
        "12",
        partial(local_is_faster, 8, 8),
        partial(local_is_faster, 8, 1),
    ),
    Claim(
        9,
        LU.format("12"),
        "unmap walks the list and, at each device, spins until the hardware is done",
        "12",
        partial(hold_grows, True),
        partial(hold_grows, False),
    ),
    Claim(
        10,
        LU.format("12"),
        "with a mutex nothing spins while it holds a spin lock",
        "12",
        partial(no_spin_lock, 12),
        partial(no_spin_lock, 11),
    ),
    Claim(
        11,
        LU.format("12"),
        "a mutex will do: the lists of devices are touched in no interrupt",
        "12",
        partial(never_in_interrupts, driver_at(0)),
        partial(never_in_interrupts, WithoutAts),
    ),
)
