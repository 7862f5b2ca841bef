"""What the kit prints of a few runs: findings of versions of the driver, generated programs explored and
simulated, a run's record and its lock statistics. The same under each Python (`test_other_python`).
"""

from __future__ import annotations

from tests.kernel.explored.generated import generate, simulated
from vtdkit.kernel.explored.exploring import explore
from vtdkit.kernel.machine.machine import Machine
from vtdkit.lab.findings.looking import look

LOOKED = (("m11", "unmap-irq"), ("m11", "flush-queue"), ("v6", "attach-same-domain"), ("m13", "dump-unmap"))
PROGRAMS = range(40)


def _run() -> None:
    machine = Machine(cpus=4, seed=3)
    lock, x = machine.mutex("lock"), machine.atomic("x")

    async def body(number: int) -> None:
        for _ in range(3):
            async with lock:
                await machine.work(machine.random.randrange(400))
                await x.add_return(number)

    for cpu in range(4):
        machine.spawn(body(cpu), cpu=cpu, name=f"t{cpu}")
    print(*machine.simulate(), x.value, *machine.lock_stat(), sep="\n")


def main() -> None:
    """Print it all."""
    for version, scenario in LOOKED:
        for seen in look(version, scenario):
            print(seen, seen.schedule, seen.times, seen.executions)
    for seed in PROGRAMS:
        program = generate(seed, 3)
        print(seed, program.threads, explore(program.on, limit=50), simulated(program, seed), sep="\n")
    _run()


if __name__ == "__main__":
    main()
