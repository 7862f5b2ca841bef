"""How a structure of bits is declared, once, for everything that needs to know it.

A `Structure` is a list of `Field`s. From that one list come the decoder, the encoder
used by tests and tools, the masks of reserved bits that the walk checks, the text a notebook cell shows and
the rows a bit-field widget draws. Only the inner loops of the page walks name a few bits again, for speed;
a sweep over every bit of every structure holds them to what is declared.

Rules for whoever declares one:

- every bit belongs to one field at most: the constructor refuses overlaps. One that nobody names is reserved
- `needs` names capabilities (or modes): if one of them is 0 the whole field is reserved
- `limit` names how much of a field the hardware implements; the bits above it are reserved
- `ignored_for` names the translation types for which hardware does not look at the field. Ignored is not
  reserved: such a bit may hold anything

When a bit is reserved depends on an *environment*, a mapping from capability and mode names to numbers
(`Capabilities.environment`). Names, bits and conditions are those of the VT-d specification, rev 5.10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal, NamedTuple

Environment = Mapping[str, int]
State = Literal["used", "reserved", "ignored"]


@dataclass(frozen=True, slots=True)
class Field:
    """One run of bits, `high` down to `low`, and when it means something."""

    name: str
    high: int
    low: int
    meaning: str = ""
    needs: tuple[str, ...] = ()
    ignored_for: tuple[str, ...] = ()
    limit: str = ""
    address: bool = False
    role: State = "used"
    values: tuple[tuple[int, str], ...] = ()
    access: str = "RW"

    @property
    def width(self) -> int:
        return self.high - self.low + 1

    @property
    def mask(self) -> int:
        """The field's bits where they stand in the structure."""
        return ((1 << self.width) - 1) << self.low

    @property
    def bits(self) -> str:
        return str(self.low) if self.high == self.low else f"{self.high}:{self.low}"

    def get(self, raw: int) -> int:
        """The field's value in `raw`; an address comes back as an address, not as a page number."""
        value = (raw & self.mask) >> self.low
        return value << self.low % 64 if self.address else value

    def put(self, value: int) -> int:
        """`value` moved to the field's place. Raises ValueError when it does not fit."""
        number = value >> self.low % 64 if self.address else value
        if number < 0 or number >> self.width or self.get(number << self.low) != value:
            raise ValueError(f"{self.name} [{self.bits}] cannot hold {value:#x}: it has {self.width} bits")
        return number << self.low

    def reserved_mask(self, environment: Environment) -> int:
        """The bits of this field that must be 0, where they stand in the structure."""
        state = self.state(environment)
        if state != "used" or not self.limit:
            return self.mask if state == "reserved" else 0
        # The bits that this hardware implements: of an address those below HAW, else as the limit says.
        there = environment[self.limit]
        return self.mask & ~(
            ((1 << there) - 1) >> self.low % 64 << self.low if self.address else there << self.low
        )

    def state(self, environment: Environment, translation_type: str = "") -> State:
        if self.role == "used" and not all(environment[name] for name in self.needs):
            return "reserved"
        return "ignored" if translation_type in self.ignored_for else self.role

    def text(self, value: int) -> str:
        """What `value` says, in words where the specification gives it a name."""
        return dict(self.values).get(value, self.meaning)


class Row(NamedTuple):
    """One line of a bit-field display: the bits `high` to `low` of a field are used, reserved or ignored."""

    part: Field
    high: int
    low: int
    state: State


class Structure:
    """A named layout of `width` bits. What no field covers is reserved. `source` says where the specification
    defines it. Read-only after construction.
    """

    def __init__(self, name: str, width: int, fields: Iterable[Field], source: str = "") -> None:
        self.name = name
        self.width = width
        self.source = source
        every, bit = list(fields), 0
        for part in [*sorted(every, key=lambda part: part.low), reserved(width)]:
            if part.low < bit or part.high < part.low:
                raise ValueError(f"{name}: field {part.name} [{part.bits}] overlaps or does not fit")
            if part.low > bit:
                every.append(reserved(part.low - 1, bit))
            bit = part.high + 1
        self.fields = tuple(every)
        self._by_name = {part.name: part for part in every if part.role == "used"}
        self.names = tuple(self._by_name)
        # For `Entry`: name -> lowest bit, mask of the value, shift that makes an address of it.
        self.places = {
            name: (part.low, (1 << part.width) - 1, part.low % 64 if part.address else 0)
            for name, part in self._by_name.items()
        }

    def __repr__(self) -> str:
        return f"<Structure {self.name}, {self.width} bits>"

    def field(self, name: str) -> Field:
        """The field called `name`. Raises KeyError with the names there are."""
        try:
            return self._by_name[name]
        except KeyError:
            raise KeyError(f"{self.name} has no field {name!r}; it has {', '.join(self._by_name)}") from None

    def mask(self, *names: str) -> int:
        return sum(self.field(name).mask for name in names)

    def encode(self, **values: int) -> int:
        """The structure with the named fields set and everything else 0. Raises KeyError or ValueError."""
        return sum(self.field(name).put(value) for name, value in values.items())

    def decode(self, raw: int) -> Entry:
        return Entry(self, raw)

    def picker(self, *names: str) -> Callable[[int], tuple[int, ...]]:
        """A function from a raw value to these fields of it, for who wants the same ones of the same
        values over and over.
        """
        places = [self.places[name] for name in names]
        return lru_cache(4096)(
            lambda raw: tuple([(raw >> low & mask) << shift for low, mask, shift in places])
        )

    def reserved_mask(self, environment: Environment) -> int:
        """Every bit that must be 0 under `environment`."""
        return sum(part.reserved_mask(environment) for part in self.fields)

    def rows(self, environment: Environment, translation_type: str = "") -> list[Row]:
        """High bits first, as a bit-field display shows them. The part of a field above what the hardware
        implements is a row of its own.
        """
        parts = sorted(self.fields, key=lambda part: -part.low)
        return [row for part in parts for row in _rows(part, environment, translation_type)]

    def access_mask(self, *kinds: str) -> int:
        """For registers: the bits whose `access` is one of `kinds`."""
        return sum(part.mask for part in self.fields if part.role == "used" and part.access in kinds)


def _rows(part: Field, environment: Environment, translation_type: str) -> Iterator[Row]:
    """A row for each run of bits of one field that is wholly reserved or wholly not, high bits first."""
    state, missing = part.state(environment, translation_type), part.reserved_mask(environment)
    for lacking, run in groupby(range(part.high, part.low - 1, -1), lambda bit: missing >> bit & 1):
        bits = list(run)
        yield Row(part, bits[0], bits[-1], "reserved" if lacking else state)


class Entry:
    """A raw value seen through a structure: fields by name (`entry.TT`), the raw bits in `raw`."""

    __slots__ = ("raw", "structure")

    def __init__(self, structure: Structure, raw: int) -> None:
        self.structure = structure
        self.raw = raw

    def __getattr__(self, name: str) -> int:
        if name[0] == "_":
            raise AttributeError(name)
        place = self.structure.places.get(name)
        if place is None:
            raise AttributeError(
                f"{self.structure.name} has no field {name!r}; it has {', '.join(self.structure.names)}"
            )
        low, mask, shift = place
        return (self.raw >> low & mask) << shift

    def __getitem__(self, name: str) -> int:
        """The same by a name in a variable; KeyError says which fields there are."""
        return self.structure.field(name).get(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and (self.structure, self.raw) == (other.structure, other.raw)

    def __hash__(self) -> int:
        return hash((self.structure, self.raw))

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return ((name, self[name]) for name in self.structure.names)

    def __repr__(self) -> str:
        shown = (f"{name}={value:#x}" for name, value in self if value)
        return f"{self.structure.name} {{{' '.join(shown) or 'all zero'}}}"


def flag(name: str, bit: int, meaning: str = "", **more: object) -> Field:
    """A field of one bit."""
    return Field(name, bit, bit, meaning, **more)  # type: ignore[arg-type]


def reserved(high: int, low: int | None = None, note: str = "") -> Field:
    """Bits that must be 0 in an entry that is used."""
    return Field("reserved", high, high if low is None else low, note, role="reserved")


def ignored(high: int, low: int | None = None, note: str = "") -> Field:
    """Bits that hardware never looks at; software may keep what it likes there."""
    return Field("ignored", high, high if low is None else low, note, role="ignored")
