"""Small runs whose every nanosecond is known, and one of the whole driver, for the tests
of the lock timeline.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vtdkit.kernel.checkers.findings import Finding
from vtdkit.kernel.machine.costs import IDEAL
from vtdkit.kernel.machine.machine import Machine
from vtdkit.kernel.record.record import KINDS, TYPES
from vtdkit.kernel.record.sites import Site
from vtdkit.kernel.record.trace import Trace
from vtdkit.lab.computer import Computer
from vtdkit.series.catalogue import driver_at
from vtdkit.vtd.capabilities import Capabilities

VIEWS = Path(__file__).resolve().parents[2] / "vtdkit" / "views" / "timeline"


def contended() -> Trace:
    """CPU0 has the lock from 0 to 1000; CPU1 wants it at 200, interrupts off, and has it to
    1300; CPU2 never runs.
    """
    machine = Machine(cpus=3, costs=IDEAL)
    lock = machine.spinlock("device_domain_lock")

    async def reader() -> None:
        async with lock:
            await machine.work(1000)
        await machine.work(500)

    async def writer() -> None:
        await machine.work(200)
        async with lock.irqsave():
            await machine.work(300)

    machine.spawn(reader(), cpu=0, name="reader")
    machine.spawn(writer(), cpu=1, name="writer")
    return machine.simulate()


def driver_run(version: int, rounds: int = 3) -> tuple[Machine, Trace, int]:
    """Three CPUs map and unmap for devices with ATS while CPU0 reads the debugfs dump; the machine, the
    trace, when it began.
    """
    names = [f"00:0{i}.0" for i in (3, 4, 5)]
    ats = {name: {"ats": True} for name in names}
    pc = Computer(driver=driver_at(version), cpus=4, units=Capabilities(DT=1), devices=ats)
    machine, start = pc.machine, pc.machine.now

    async def worker(number: int, domain: Any) -> None:
        for turn in range(rounds):
            iova = 0x10000 + turn * 0x1000
            await pc.core.iommu_map(domain, iova, 0x9000000 + number * 0x100000, 0x1000, 3)
            await machine.work(500)
            await pc.core.iommu_unmap(domain, iova, 0x1000)

    async def dump() -> None:
        await pc.driver.domain_translation_struct_show()

    for number, name in enumerate(names):
        machine.spawn(worker(number, pc.domain_of(name)), cpu=number + 1, name=f"worker{number}")
    machine.spawn(dump(), cpu=0, name="debugfs")
    return machine, machine.simulate(), start


def trace_of(
    rows: Sequence[tuple[int, int, int, str, int]], cpus: int = 2, end: int | None = None, **more: Any
) -> Trace:
    """A trace made by hand from (time, cpu, context, kind, object); contexts t0 to t11, objects as below."""
    whole = [
        (*row[:3], KINDS.index(row[3]), row[4], 1 if row[3] in ("spin", "acquire") else 0, 0) for row in rows
    ]
    columns = tuple(array(code, values) for code, values in zip(TYPES, zip(*whole, strict=True), strict=True))
    objects = ["", "lock 1", "lock 2", "lock 3", "status[4]", "lock 1"]
    sites = [Site("?", "?", 0), Site("attach", "vtdkit/x.py", 7)]
    return Trace(
        columns,
        [f"t{i}" for i in range(12)],
        objects,
        sites,
        cpus,
        rows[-1][0] if end is None else end,
        **{"marks": ["here"], "findings": [Finding("BUG", "here", ())], **more},
    )


def node(script: str, given: Any) -> Any:
    """Run an ES module in Node with `given` as JSON on its standard input; what it prints as JSON."""
    program = shutil.which("node")
    assert program is not None, "the caller skips where there is no node"
    text = f"import fs from 'node:fs'; const given = JSON.parse(fs.readFileSync(0, 'utf8'));\n{script}"
    done = subprocess.run(
        [program, "--input-type=module", "-e", text],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=VIEWS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
