"""What QEMU and Linux said about an image, as typed records.

Each oracle file of a reality folder becomes a tuple of frozen records, checked on the way in: a missing key,
a value of the wrong kind or an absurd number raises `BadFile` naming the file and the record. Addresses are
in bytes.

    mappings         translations QEMU made that were still valid when the machine stopped
    stale            translations still in QEMU's IOTLB whose mapping was gone by then
    kernel_live      what Linux had mapped, per device
    vfio_live        what a VFIO program had mapped
    faults           DMAs that QEMU refused, with the code it recorded
    replayed         DMAs replayed by a fresh QEMU on these pages
    mutations        one word of a table changed, and what QEMU made of three DMAs
    invalidations    the descriptors QEMU executed, in order
    interrupts       live table entries, and what became of interrupt messages
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from vtdkit.vtd.image.image import Image
from vtdkit.vtd.image.npz import BadFile, number, read_json
from vtdkit.vtd.image.stale import Mapped, mapped
from vtdkit.vtd.plain import echo, quoted, shown
from vtdkit.vtd.quirks import version_number
from vtdkit.vtd.requests import Request, sid

T = TypeVar("T")
_MAX_RECORDS = 200_000


@dataclass(frozen=True, slots=True)
class Range:
    """A range that Linux or a VFIO program had mapped for a device. `prot` is 1 read, 2 write, 3 both."""

    sid: int
    iova: int
    address: int
    size: int
    prot: int

    __repr__ = shown


@dataclass(frozen=True, slots=True)
class Verdict:
    """What QEMU said of one DMA: granted (`address`, `size`, `entry`, `did`), refused (`code`), or nothing at
    all.
    """

    sid: int
    iova: int
    write: bool
    length: int
    granted: bool | None
    address: int = 0
    size: int = 0
    entry: int | None = None
    code: int = 0
    note: str = ""

    __repr__ = shown

    def request(self) -> Request:
        return Request(self.sid, self.iova, "write" if self.write else "read", length=self.length)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One word changed from `old` to `new`, and the verdicts on three DMAs then."""

    kind: str
    address: int
    old: int
    new: int
    verdicts: tuple[Verdict, ...]

    __repr__ = shown


@dataclass(frozen=True, slots=True)
class Executed:
    """A descriptor QEMU executed: ring slot, raw bits (None if QEMU did not trace it), its name and
    fields.
    """

    slot: int
    raw: int | None
    name: str
    granularity: str
    fields: Mapping[str, int]

    __repr__ = shown


@dataclass(frozen=True, slots=True)
class TableEntry:
    """An interrupt remapping table entry."""

    index: int
    raw: int
    live: bool

    __repr__ = shown


@dataclass(frozen=True, slots=True)
class Delivered:
    """An interrupt message and what it became."""

    index: int
    address: int
    data: int
    out_address: int
    out_data: int

    __repr__ = shown

    def request(self, sid: int) -> Request:
        return Request(sid, self.address, "write", data=self.data)


class Oracle:
    """The oracles of one image, read when first asked for. Raises BadFile."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self._files: dict[str, Any] = {}

    def read(self) -> None:
        """Read and check every file now, so that a bad one is refused before anything is compared with the
        others. Raises BadFile.
        """
        for name, part in vars(Oracle).items():
            if isinstance(part, cached_property):
                getattr(self, name)

    def _list(self, file: str, key: str, make: Callable[[Any], T]) -> tuple[T, ...]:
        raw = self._section(file, key, list)
        if len(raw) > _MAX_RECORDS:
            raise self._bad(file, f"{key} has {len(raw)} records")
        return tuple(self._make(file, f"{key}[{i}]", make, record) for i, record in enumerate(raw))

    def _make(self, file: str, where: str, make: Callable[[Any], T], record: Any) -> T:
        try:
            return make(record)
        except KeyError as error:
            raise self._bad(file, f"{where} has no {error.args[0]!r}") from None
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise self._bad(file, f"{where} makes no sense ({echo(error)})") from None

    def _section(self, file: str, key: str, kind: type) -> Any:
        if file not in self._files:
            self._files[file] = read_json(self.image.folder / file)
        whole = self._files[file]
        if not isinstance(whole, dict) or not isinstance(whole.get(key), kind):
            raise self._bad(file, f"has no {kind.__name__} called {key!r}")
        return whole[key]

    def _bad(self, file: str, problem: str) -> BadFile:
        return BadFile(self.image.folder / file, problem)

    @cached_property
    def mappings(self) -> tuple[Mapped, ...]:
        return self._list("oracle.json.gz", "mappings", mapped)

    @cached_property
    def stale(self) -> tuple[Mapped, ...]:
        return self._list("oracle.json.gz", "not_agreeing", mapped)

    @cached_property
    def stale_count(self) -> int:
        """How many stale entries QEMU held; the file lists 300 of them at most."""
        summary = self._section("oracle.json.gz", "summary", dict)
        count = summary.get("walker_disagrees", 0)
        return count if isinstance(count, int) else 0

    @cached_property
    def faults(self) -> tuple[Verdict, ...]:
        return self._list("oracle.json.gz", "faults", _fault)

    @cached_property
    def faults_since_mapped(self) -> tuple[Verdict, ...]:
        return self._list("oracle.json.gz", "faults_since_mapped", _fault)

    @cached_property
    def pass_through(self) -> tuple[int, ...]:
        """Source ids that were passed through."""
        return self._list("oracle.json.gz", "passthrough", lambda r: number(r["sid"], 16))

    @cached_property
    def kernel_live(self) -> dict[int, tuple[Range, ...]]:
        """Source id to everything Linux had mapped for it."""
        file = "oracle.json.gz"
        devices = self._section(file, "kernel_live", dict)
        found: dict[int, tuple[Range, ...]] = {}
        for name, device in devices.items():
            ranges = self._make(file, f"kernel_live[{quoted(name)}]", _device, device)
            found[ranges[0]] = ranges[1]
        return found

    @cached_property
    def vfio_live(self) -> tuple[Range, ...]:
        """One record per device and mapping."""
        groups = self._list("oracle.json.gz", "vfio_live", _vfio)
        return tuple(part for group in groups for part in group)

    @cached_property
    def replayed(self) -> tuple[Verdict, ...]:
        return self._list("replay_oracle.json.gz", "results", _verdict)

    @cached_property
    def replayed_by(self) -> str:
        """The QEMU that replayed the requests."""
        text = str(self._section("replay_oracle.json.gz", "qemu", str))
        try:
            version_number(text)
        except ValueError as error:
            raise self._bad("replay_oracle.json.gz", str(error)) from None
        return text

    @cached_property
    def mutations(self) -> tuple[Mutation, ...]:
        return self._list("fuzz_oracle.json.gz", "cases", _mutation)

    @cached_property
    def invalidations(self) -> tuple[Executed, ...]:
        return self._list("invalidations.json.gz", "descriptors", _executed)

    @cached_property
    def all_invalidations_kept(self) -> bool:
        """Whether the file holds every descriptor, not only the first and last ones."""
        file = "invalidations.json.gz"
        return bool(self._section(file, "total", int) == self._section(file, "kept", int))

    @cached_property
    def descriptor_bytes(self) -> int:
        size = self._section("invalidations.json.gz", "desc_bytes", int)
        if size not in (16, 32):
            raise self._bad("invalidations.json.gz", f"desc_bytes is {size}")
        return int(size)

    @cached_property
    def table_entries(self) -> tuple[TableEntry, ...]:
        return self._interrupts("irte", _table_entry)

    @cached_property
    def delivered(self) -> tuple[Delivered, ...]:
        return self._interrupts("msi", _delivered)

    def _interrupts(self, key: str, make: Callable[[Any], T]) -> tuple[T, ...]:
        section = self._section("oracle.json.gz", "interrupts", dict)
        records = section.get(key, [])
        if not isinstance(records, list):
            raise self._bad("oracle.json.gz", f"interrupts has no list called {key!r}")
        return tuple(
            self._make("oracle.json.gz", f"interrupts.{key}[{i}]", make, r) for i, r in enumerate(records)
        )


def _fault(r: Any) -> Verdict:
    sid, iova = number(r["sid"], 16), number(r["iova"])
    return Verdict(sid, iova, bool(r["write"]), 1, False, code=number(r["reason"], 8))


def _verdict(r: Any) -> Verdict:
    granted = {1: True, 0: False, None: None}[r["ok"]]
    verdict = Verdict(
        number(r["sid"], 16),
        number(r["iova"]),
        bool(r["write"]),
        number(r["len"], 12),
        granted,
        address=number(r["gpa"]) if granted else 0,
        size=number(r["size"]) if granted else 0,
        entry=number(r["pte"]) if granted and "pte" in r else None,
        code=number(r["reason"], 8) if granted is False else 0,
        note=echo(r.get("note", "")),
    )
    verdict.request()
    return verdict


def _mutation(r: Any) -> Mutation:
    address = (number(r["pfn"], 40) << 12) + 8 * number(r["index"], 9)
    verdicts = tuple(map(_verdict, r["queries"]))
    return Mutation(echo(r["kind"]), address, number(r["old"]), number(r["new"]), verdicts)


def _device(r: Any) -> tuple[int, tuple[Range, ...]]:
    sid = number(r["sid"], 16)
    return sid, tuple(_range(sid, *fields) for fields in r["ranges"])


def _range(sid: int, iova: Any, address: Any, size: Any, prot: Any) -> Range:
    part = Range(sid, number(iova), number(address), number(size, 48), number(prot, 2))
    if part.size % 4096 or part.iova % 4096 or not part.size or part.iova + part.size > 1 << 64:
        raise ValueError(f"{part.size:#x} bytes at {part.iova:#x} are no range of pages")
    return part


def _vfio(r: Any) -> tuple[Range, ...]:
    return tuple(_range(sid(bdf), r["iova"], r["gpa"], r["size"], r["prot"]) for bdf in r["bdfs"])


def _executed(r: Any) -> Executed:
    raw = None if r["raw"] is None else sum(number(word) << 64 * i for i, word in enumerate(r["raw"]))
    decoded = dict(r["decoded"])
    granularity = echo(decoded.pop("g", ""))
    decoded.pop("raw_from", None)
    fields = {echo(name): number(value, 6 if name == "am" else 64) for name, value in decoded.items()}
    return Executed(number(r["ring_index"], 16), raw, echo(r["name"]), granularity, fields)


def _table_entry(r: Any) -> TableEntry:
    return TableEntry(number(r["index"], 16), number(r["lo"]) | number(r["hi"]) << 64, bool(r["live"]))


def _delivered(r: Any) -> Delivered:
    message = Delivered(
        number(r["index"], 16),
        number(r["msi_addr"]),
        number(r["msi_data"], 32),
        number(r["out_addr"]),
        number(r["out_data"], 32),
    )
    message.request(0)
    return message
