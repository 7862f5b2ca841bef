"""What an operation costs, in virtual nanoseconds: one frozen record, every figure with its source.

The figures are measurements other people published (or, marked so, micro-benchmarks of one virtual machine).
They set the scale of a simulation, not its verdicts: nobody published a measurement of the patch series
itself, so any speed-up seen here is this model's own. Three presets:

- `NEAR`        one socket, the default
- `TWO_SOCKET`  the same figures; on a machine of two sockets the dearer transfers between them count
- `IDEAL`       everything free: for comparing a lock with a textbook queue, and for exploring interleavings

Example::

    >>> IDEAL.but(handover=100).handover
    100
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Costs:
    """Virtual nanoseconds for each thing a machine does; immutable, so two runs can be compared.

    `lock` is an uncontended lock+unlock pair on a line the CPU owns; `line_near`/`line_far` what fetching a
    modified cache line adds, from a CPU of the same socket or of another one. `handover` is what passing a
    contended lock to the next waiter takes; None means "one line transfer between the two CPUs".
    """

    #: uncontended spin lock + unlock on an owned line. perfbook, table of overheads: 15.4 ns
    #: (Xeon Platinum 8176)
    lock: int = 15
    #: one uncontended atomic read-modify-write. perfbook: 7.0 ns same-CPU CAS (same machine); 5.3 ns measured
    #: on an EPYC guest
    atomic: int = 5
    #: cache line from a CPU of the same socket. nviennot/core-to-core-latency: 44-51 ns on four Xeons
    line_near: int = 50
    #: cache line from the other socket. nviennot/core-to-core-latency: 108-136 ns on the same parts
    line_far: int = 130
    #: passing a contended lock on; None: one line transfer. Boyd-Wickizer et al., OLS 2012, section 4
    handover: int | None = None
    #: delivery of an interrupt or IPI to a CPU. IPI-virtualisation posting: 1.73 us each
    irq: int = 1700
    #: entering and leaving a handler once it is delivered (own estimate: twice a system call, 127 ns measured
    #: on an EPYC guest)
    irq_entry: int = 250
    #: sleep in the kernel and be woken. Measured with futexes on an EPYC guest: 1.95 us one way
    wake: int = 2000
    #: switching a CPU to another runnable thread. 1.07 us (i7 11th generation, pipe ping-pong)
    switch: int = 1070
    #: time slice of a thread when others wait for its CPU. Linux, sched base slice: 3 ms
    slice: int = 3_000_000
    #: a mutex waiter spins at most this long while the owner runs; None: as long as the owner runs, as in
    #: Linux; 0: not at all
    spin_limit: int | None = None
    #: the invalidation queue's answer to one submission, IOTLB. rIOMMU, ASPLOS'15, table 1: about 2130 cycles
    #: = 0.7 us
    iotlb_wait: int = 700
    #: a device's answer to a device-TLB invalidation (own estimate: a PCIe round trip on top of `iotlb_wait`)
    device_tlb_wait: int = 1300
    #: one PCI configuration-space access (own estimate: an uncached read over PCIe)
    pci_config: int = 1000
    #: software's part of one table edit. rIOMMU table 1: 533-590 cycles a map, over three to four entries
    table_word: int = 45
    #: taking a page from the allocator and clearing it (own estimate: 4 KiB at 20 GB/s plus the free list)
    page: int = 250
    #: an uncached access to a register of the remapping unit (own estimate: a posted MMIO write)
    mmio: int = 100
    #: one read by the unit's page walker (own estimate: a memory access that misses the last-level cache)
    walk_read: int = 80
    #: printing one line into a seq_file (own estimate; formatting six 64-bit words)
    seq_printf: int = 600
    #: end of an RCU grace period after the last reader left (own choice: one scheduler tick at 1000 Hz)
    grace_period: int = 1_000_000
    #: the same, expedited (own choice: a round of IPIs)
    grace_period_expedited: int = 10_000

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            may_be_none = name in ("handover", "spin_limit")
            if not (value is None and may_be_none) and (type(value) is not int or value < 0):
                raise ValueError(
                    f"Costs.{name} must be a whole number of nanoseconds, 0 or more"
                    f"{', or None' if may_be_none else ''}; it is {value!r}"
                )

    def but(self, **changes: Any) -> Costs:
        """The same costs with some changed, e.g. `NEAR.but(iotlb_wait=5000)`."""
        return replace(self, **changes)

    def __str__(self) -> str:
        """As it is written: `NEAR`, or `NEAR.but(iotlb_wait=5000)`."""
        if self == IDEAL:
            return "IDEAL"
        changed = [
            f"{name}={getattr(self, name)}"
            for name in self.__slots__
            if getattr(self, name) != getattr(NEAR, name)
        ]
        return f"NEAR.but({', '.join(changed)})" if changed else "NEAR"


NEAR = Costs()
TWO_SOCKET = Costs()
IDEAL = Costs(
    **{name: 0 for name in Costs.__slots__ if name not in ("handover", "slice", "spin_limit")},
    handover=0,
    slice=Costs().slice,
    spin_limit=0,
)
