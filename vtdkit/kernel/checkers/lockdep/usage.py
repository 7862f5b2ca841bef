"""What a class has been seen doing with interrupts: eight usage bits and their names.

A bit number is built from three parts, as in kernel/locking/lockdep_internals.h:

    bit 0   reader (1) or writer (0)
    bit 1   taken inside such an interrupt (0), or held while such interrupts were on (1)
    bit 2   hard interrupts (0) or soft interrupts (1)

A class that was taken inside an interrupt is called *safe* there, one that was held with them on is *unsafe*.
A class must not be both, and no unsafe class may be taken under a safe one: the interrupt could come while
the unsafe one is held, and wait for ever.
"""

READER = 1
ENABLED = 2
SOFT = 4
USED = 8
"""Bits 8 and 9: ever taken by a writer, by a reader. No rule hangs on them."""

HARD_STATE, SOFT_STATE = 0, SOFT
STATES = (HARD_STATE, SOFT_STATE)

NAMES = (
    "IN-HARDIRQ-W",
    "IN-HARDIRQ-R",
    "HARDIRQ-ON-W",
    "HARDIRQ-ON-R",
    "IN-SOFTIRQ-W",
    "IN-SOFTIRQ-R",
    "SOFTIRQ-ON-W",
    "SOFTIRQ-ON-R",
    "USED",
    "USED-READ",
)


def opposites(bit: int) -> int:
    """The two bits (writer, reader) that say the contrary of `bit`: in an interrupt, interrupts on."""
    return 0b11 << ((bit ^ ENABLED) & ~READER)


def visible(mask: int, weak: bool) -> int:
    """The bits of `mask` that count at the end of a path: where it is weak, readers drop out."""
    return mask & 0b0101_0101 if weak else mask


def first_bit(mask: int) -> int:
    """The lowest bit set: writers come before readers."""
    return (mask & -mask).bit_length() - 1


def characters(usage: int) -> str:
    """The four characters reports print in braces: hard writer, hard reader, soft writer, soft reader.

    `.` never in the interrupt nor with it on; `-` taken in the interrupt; `+` held with it on; `?` both.
    """
    return "".join(
        ".-+?"[(usage >> bit & 1) + 2 * (usage >> (bit | ENABLED) & 1)]
        for bit in (0, READER, SOFT, SOFT | READER)
    )
