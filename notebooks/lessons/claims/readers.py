"""Those who read tables while others free them: the dump, pfn_valid, capabilities, RCU.

Claims 4, 15 to 22, 51 to 56, 69.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from lessons.experiments.readers import caught, contents, exposed, held_back, stale
from lessons.scenes.readers import (
    HOLE,
    HOLES,
    WHOLE,
    ArmFreelist,
    arm_sweep,
    dump_disk,
    dump_reuse,
    dump_superpage,
    mm_race,
    sweep_unmap,
)
from lessons.variants import readers as ways
from lessons.variants.tables import flush_before_free
from vtdkit.iommu.backends.arm_lpae import ArmLpae
from vtdkit.kernel.explored.exploring import ScenarioExploration, explore
from vtdkit.kernel.memory.descriptors import IOMMU_PT_PAGE, PAGE, freed_by_one_callback
from vtdkit.kernel.memory.sections import MemoryMap
from vtdkit.lab.computer import Computer
from vtdkit.lab.scenarios.catalogue import SCENARIOS
from vtdkit.series.catalogue import driver_at
from vtdkit.series.mainline import versions as mainline

from .claim import Claim, Measured

DUMP: Any = driver_at(1)  # the dump takes no lock
TESTED = ways.ask_memory_map(DUMP, HOLES)
RCU = ways.free_after_grace_period(DUMP)
FLUSHED: Any = flush_before_free(DUMP)  # also a table that a large page takes the place of goes on a list
RCU_ALL = ways.free_after_grace_period(FLUSHED)
KASAN, OOPS, SLEEPS = "use-after-free", "unable to handle page fault", "sleeping function"
dump_unmap, dump_free = SCENARIOS["dump-unmap"].build, SCENARIOS["dump-free"].build
dump_hole = partial(dump_reuse, leads_to=HOLE)


@dataclass(frozen=True, slots=True)
class Tried:
    """In how many executions a thing went wrong: `3 of 23`."""

    bad: int
    executions: int
    complete: bool

    def __repr__(self) -> str:
        return f"{self.bad} of {self.executions}"


@cache
def orders(scene: Callable[..., Any], *subject: Any) -> ScenarioExploration:
    """A scene on two CPUs, in every order. Several claims ask the same one."""
    return explore(partial(scene, *subject), cpus=2)


def times(found: ScenarioExploration, kind: str = KASAN) -> Tried:
    """In how many of them `kind` was reported."""
    return Tried(found.times(kind), found.executions + found.deadlocks, found.complete)


def tried(scene: Callable[..., Any], *subject: Any, kind: str = KASAN) -> Tried:
    """Both."""
    return times(orders(scene, *subject), kind)


def never(evidence: str, *runs: Tried) -> Measured:
    """Holds if nothing went wrong in any of the runs; `{0}`, `{1}` … in the evidence are the runs."""
    return Measured(
        not any(run.bad for run in runs), evidence.format(*runs), all(run.complete for run in runs)
    )


def as_said(holds: bool, evidence: str, *runs: Tried) -> Measured:
    """Holds if `holds`."""
    return Measured(holds, evidence.format(*runs), all(run.complete for run in runs))


# -- the dump -----------------------------------------------------------------


def helper(driver: Any = DUMP) -> Measured:
    return never("the dump reads a domain that was freed in {0} executions", tried(dump_free, driver))


def rwsem_fails(in_irq: bool = True, until_written: bool = True) -> Measured:
    """The dump waits for a disk while it has the semaphore; or an interrupt unmaps."""
    scene = partial(dump_disk, in_irq=in_irq)
    shown = tried(scene, ways.rwsem(DUMP), kind=SLEEPS)
    stuck = tried(scene, ways.rwsem(DUMP, until_written=until_written), kind="deadlock")
    return as_said(
        bool(shown.bad or stuck.bad),
        "if the dump waits for the disk while it has it, deadlock in {1} executions; if not, the disk's "
        "interrupt, which unmaps, sleeps in {0}",
        shown,
        stuck,
    )


def useless_lines(driver: Any = TESTED) -> Measured:
    found = orders(dump_hole, driver)
    read, oops = times(found), times(found, OOPS)
    return never("the dump reads a freed table in {0} executions, an oops in {1}", read, oops)


def all_ones(*kinds: str) -> Measured:
    rules = Computer(devices=["00:03.0"]).hardware[0].unit.rules
    rows = {kind: caught(rules, words) for kind, words in contents().items() if not kinds or kind in kinds}
    present, bad = (sum(row[at] for row in rows.values()) for at in (0, 1))
    missed = [kind for kind, (seen, refused) in rows.items() if seen and not refused]
    none = f"; none in {', '.join(missed)}" if missed else ""
    return Measured(bad == present, f"{bad} of {present} words that look present would be refused{none}")


def says_too_little(memory: MemoryMap = HOLES) -> Measured:
    pages = sum(end - first for first, end in memory.traps()) >> 12
    oops = tried(dump_hole, ways.ask_memory_map(DUMP, memory), kind=OOPS)
    ranges = len(list(memory.traps()))
    return as_said(
        pages > 0 and oops.bad > 0,
        f"pages that pass and cannot be read: {pages}, in {ranges} ranges; the dump's oops: {{0}} executions",
        oops,
    )


def preempted(leaves: int = 1, held_up: int = 3_000_000) -> Measured:
    own, held = exposed(DUMP, leaves), exposed(DUMP, leaves, held_up)
    return Measured(
        held > 10 * own,
        f"an unmap can free the table that is read for {own} ns, held up between two levels for {held} ns "
        f"({leaves} of its pages mapped)",
    )


def gate(capable: bool | None = False) -> Measured:
    driver = DUMP if capable is None else ways.require_capability(DUMP, capable)
    return never("a freed table is read in {0} executions", tried(dump_unmap, driver))


def beyond_pfn_valid(mapped: bool = True) -> Measured:
    driver: Any = ways.ask_memory_map(DUMP, HOLES, mapped)
    found = orders(dump_hole, driver)
    oops, stale = times(found, OOPS), times(found)
    return Measured(not oops.bad, f"oops in {oops} executions; a freed table is still read in {stale}")


# -- the memory manager -------------------------------------------------------


def mm_needs(frees: bool = True) -> Measured:
    race = partial(mm_race, frees=frees)
    locked, open_ = (tried(partial(race, reader="fault", area_lock=lock)) for lock in (True, False))
    off, on = (tried(partial(race, irqs_off=irqs)) for irqs in (True, False))
    return as_said(
        bool(open_.bad and on.bad and not locked.bad and not off.bad),
        "freed tables used: with mmap_lock {0}, without {1}; walk without a lock, interrupts off {2}, on {3}",
        locked,
        open_,
        off,
        on,
    )


def needs_rcu(flush: str = "instruction") -> Measured:
    at_once, later = (tried(partial(mm_race, flush=flush, rcu=rcu)) for rcu in (False, True))
    return as_said(
        bool(at_once.bad) and not later.bad,
        "freed tables used by a walk with interrupts off: freed after the flush {0}, a grace period {1}",
        at_once,
        later,
    )


# -- RCU ----------------------------------------------------------------------


def safe_and_free(driver: Any = RCU) -> Measured:
    read = tried(dump_unmap, driver)
    old, new = (held_back(each, cpus=2, pairs=50, tables=0, leaves=64).ns for each in (DUMP, driver))
    busy, (late, _) = held_back(driver, cpus=2, pairs=500, leaves=64), stale(driver)
    return as_said(
        not read.bad and old == new,
        f"a freed table is read in {{0}} executions, {late} lines are out of date; a map with its unmap "
        f"takes {new} ns, before {old}; where each unmap takes a table out {busy.peak} wait to be freed",
        read,
    )


def one_list(layout: Any = IOMMU_PT_PAGE, link: str = "list_head") -> Measured:
    shared, freed = layout.overlap(link, "rcu_head"), freed_by_one_callback(layout, link, 5)
    return Measured(
        freed == 5,
        f"{layout.name}: {link} and rcu_head {'share bytes' if shared else 'stand apart'}; of a list of 5 "
        f"tables one callback frees {freed}; {layout.size} bytes a page",
    )


def sub_class() -> Measured:
    apart, both = one_list(), one_list(PAGE, "lru")
    return Measured(apart.holds and not both.holds, f"{both.evidence}. {apart.evidence}")


def one_callback(driver: Any = RCU) -> Measured:
    run = held_back(driver, cpus=1, pairs=4, tables=16, leaves=1)
    return Measured(run.callbacks == 4, f"4 unmaps of 16 tables each: {run.callbacks} callbacks")


def sweeps(driver: Any = DUMP, table: type[ArmLpae] = ArmLpae) -> Measured:
    intel, arm = tried(sweep_unmap, driver), tried(partial(arm_sweep, table=table))
    return as_said(
        bool(intel.bad and arm.bad),
        "a sweep for dirty bits reads a freed table: VT-d {0}, Arm {1}",
        intel,
        arm,
    )


def only_rcu() -> Measured:
    """RCU for every table (unmap, a large page in its place, a file on a disk); what else was proposed."""
    proposed = {
        "nothing": DUMP,
        "pfn_valid": TESTED,
        "all ones": ways.all_ones(DUMP),
    }
    wrong = {name: tried(dump_unmap, driver) for name, driver in proposed.items()}
    wrong["rwsem"] = tried(dump_disk, ways.rwsem(DUMP), kind=SLEEPS)
    rcu = [tried(dump_unmap, RCU_ALL), tried(dump_superpage, RCU_ALL), tried(dump_disk, RCU_ALL, kind=SLEEPS)]
    others = ", ".join(f"{name} {run}" for name, run in wrong.items())
    return as_said(
        all(run.bad for run in wrong.values()) and not any(run.bad for run in rcu),
        f"goes wrong: RCU {{0}}, {{1}}, {{2}}; {others}",
        *rcu,
    )


def as_posted() -> Measured:
    rfc: Any = ways.concurrent_traversal(DUMP, flag=False)
    run = tried(dump_unmap, ways.read_under_rcu(rfc))
    return never("the RFC with the flag that nobody sets: a freed table is read in {0} executions", run)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        4,
        "Lu Baolu, 27 May",
        "to find the domain of a device the dump can simply ask the core",
        "01",
        helper,
        partial(helper, mainline.SERIES[1].driver),  # under group->mutex
    ),
    Claim(
        15,
        "Lu Baolu, 31 May",
        "a semaphore between unmap and dump does not work: the dump may need the DMA that waits for it",
        "16",
        rwsem_fails,
        partial(rwsem_fails, in_irq=False, until_written=False),
    ),
    Claim(
        16,
        "Lu Baolu, 31 May",
        "let them race, and test each address: the worst that happens is useless output",
        "16",
        useless_lines,
        partial(useless_lines, RCU),
    ),
    Claim(
        17,
        "Lu Baolu, 1 June",
        "the dump could see a bad entry as the hardware does, and print it as all ones",
        "16",
        all_ones,
        partial(all_ones, "poison of a debug kernel"),
    ),
    Claim(
        18,
        "Jason Gunthorpe, 31 May",
        "it is only a debug file, so not the end of the world; but horrible",
        "16",
        why="how bad is bad enough is for its maintainers to say",
        opinion=True,
        beside=partial(gate, None),
    ),
    Claim(
        19,
        "Robin Murphy, 31 May",
        "pfn_valid says that there is a struct page, not that the kernel can read there: it is true beyond "
        "unaligned ends of memory and in holes",
        "16",
        says_too_little,
        partial(says_too_little, WHOLE),
    ),
    Claim(
        20,
        "Robin Murphy, 31 May",
        "an entry that was present a moment ago leads to memory; the danger is a reader held up for long",
        "16",
        preempted,
        partial(preempted, 512, 0),
    ),
    Claim(
        21,
        "Jason Gunthorpe, 31 May",
        "what may crash the kernel should ask for a capability such as CAP_SYS_RAWIO",
        "16",
        gate,
        partial(gate, None),
    ),
    Claim(
        22,
        "Robin Murphy, 31 May",
        "reading can be made safe; it takes more than pfn_valid",
        "16",
        beyond_pfn_valid,
        partial(beyond_pfn_valid, False),
    ),
    Claim(
        51,
        "Jason Gunthorpe, 31 May",
        "the mm needs its locks because tables go when areas go; walks without a lock are protected too",
        "16",
        mm_needs,
        partial(mm_needs, frees=False),
    ),
    Claim(
        52,
        "Jason Gunthorpe, 31 May",
        "if tables are freed through RCU, readers are safe, and map and unmap get no slower",
        "16",
        safe_and_free,
        partial(safe_and_free, DUMP),
    ),
    Claim(
        53,
        "Jason Gunthorpe, 31 May and 1 June",
        "struct page has an rcu_head, so RCU is free; it overlaps lru, so make a sub-class with both",
        "16",
        sub_class,
        partial(one_list, PAGE, "lru"),
    ),
    Claim(
        54,
        "Jason Gunthorpe, 1 June",
        "it is what the mm's gather does, where a TLB flush is no interrupt and tables must wait for RCU",
        "16",
        needs_rcu,
        partial(needs_rcu, "interrupt"),
    ),
    Claim(
        55,
        "Jason Gunthorpe, 1 June",
        "go on freeing tables as a list, linked by a list_head of their own",
        "16",
        one_callback,
        partial(one_callback, ways.concurrent_traversal(DUMP)),  # the RFC: one callback a table
    ),
    Claim(
        56,
        "Robin Murphy, 31 May",
        "sweeps for dirty bits meet the same danger; with the gather's list and RCU, Arm's tables need not",
        "16",
        sweeps,
        partial(sweeps, RCU, ArmFreelist),
    ),
    Claim(
        69,
        "Jason Gunthorpe, 31 May; Lu Baolu, 1 June",
        "RCU is the right solution, in a patch of its own",
        "16",
        only_rcu,
        as_posted,
    ),
)
