"""Saving and loading a record: an .npz file, without numpy and without pickle.

The file is a zip of .npy arrays, one for each column, and one of bytes (`names`) that hold everything else as
JSON; `numpy.load` reads it too. The same record gives the same bytes on every platform (members are stored,
not compressed, unless asked for).

A file from outside is hostile until checked: sizes are looked at before anything is read, at most `LIMIT`
bytes are unpacked, headers are matched against the one form there is, and every number is held against the
table it points into. Whatever is wrong, `load` raises `TraceError` with one line that says what and where.
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
import zlib
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from vtdkit.kernel.checkers.findings import Finding

from .record import COLUMNS, FOUND, KINDS, MARK, TYPES, Columns, Trace
from .sites import Site

FORMAT, VERSION = "vtdkit trace", 1
DTYPES = {"q": "<i8", "i": "<i4", "h": "<i2", "b": "|i1", "B": "|u1"}
LIMIT = 1 << 30  #: bytes, unpacked, of all columns together: 34 million events
NAMES_LIMIT = 1 << 24  #: bytes of names, places, findings
DIRECTORY_LIMIT = 1 << 16
MAGIC = b"\x93NUMPY\x01\x00"
HEADER = re.compile(
    rb"\{'descr': '([<|][iu][1248])', 'fortran_order': (?:True|False), 'shape': \((\d{1,12}),\), \} *\n"
)


class TraceError(ValueError):
    """A file that is not a saved trace, or not a sound one; the message says what is wrong and where."""


# -- writing ------------------------------------------------------------------


def save(trace: Trace, path: str | Path, compress: bool = False) -> None:
    """Write `trace` to `path`."""
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    names = json.dumps(_names(trace), ensure_ascii=False, separators=(",", ":")).encode()
    with zipfile.ZipFile(path, "w", allowZip64=False) as file:
        for name, column in zip(COLUMNS, trace.columns, strict=True):
            _write(file, name, column, method)
        _write(file, "names", array("B", names), method)


def _write(file: zipfile.ZipFile, name: str, column: array[int], method: int) -> None:
    info = zipfile.ZipInfo(f"{name}.npy")  # dated 1980: the same bytes whenever it is written
    info.compress_type, info.create_system, info.external_attr = method, 3, 0o644 << 16
    start = f"{{'descr': '{DTYPES[column.typecode]}', 'fortran_order': False, 'shape': ({len(column)},), }}"
    length = -(-(len(MAGIC) + 2 + len(start) + 1) // 64) * 64 - len(MAGIC) - 2
    header = MAGIC + length.to_bytes(2, "little") + (start.ljust(length - 1) + "\n").encode()
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    file.writestr(info, header + column.tobytes())


def _names(trace: Trace) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "cpus": trace.cpus,
        "end": trace.end,
        "event_kinds": KINDS,
        "contexts": trace.contexts,
        "context_kinds": trace.context_kinds,
        "objects": trace.objects,
        "kinds": trace.kinds,
        "sites": [_place(site) for site in trace.sites],
        "marks": trace.marks,
        "findings": [_finding(finding) for finding in trace.findings],
    }


def _place(site: Site) -> list[str | int]:
    return [site.function, site.file, site.line]


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "where": finding.where,
        "sites": [_place(site) for site in finding.sites],
        "contexts": finding.contexts,
        "held": finding.held,
        "stack": [_place(site) for site in finding.stack],
        "text": finding.text,
        "time": finding.time,
        "replay": finding.replay,
    }


# -- reading ------------------------------------------------------------------


def load(path: str | Path) -> Trace:
    """Read a trace that `save` wrote. Raises TraceError, or OSError if the file cannot be opened."""
    with open(path, "rb") as raw:
        try:
            _check_directory(raw)
            with zipfile.ZipFile(raw) as file:
                return _Reader(file).trace()
        except TraceError as error:
            raise TraceError(f"{path}: {error}") from None
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            ValueError,
            OverflowError,
        ) as error:
            raise TraceError(f"{path}: not a saved trace, or a damaged one ({error})") from None


def _check_directory(raw: IO[bytes]) -> None:
    """The zip's directory must be small, and at the end: before zipfile reads all of it."""
    size = raw.seek(0, 2)
    raw.seek(max(size - 22, 0))
    end = raw.read(22)
    if len(end) < 22 or end[:4] != b"PK\x05\x06" or end[20:22] != b"\0\0":
        raise TraceError("not a saved trace: it does not end as an .npz file does (cut short?)")
    if int.from_bytes(end[12:16], "little") > DIRECTORY_LIMIT:
        raise TraceError("its directory is larger than that of any saved trace")


class _Reader:
    """One file being read; `left` is how many bytes may still be unpacked."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self.file = file
        self.left = LIMIT
        self.members = {info.filename: info for info in file.infolist()}

    def trace(self) -> Trace:
        names = self._names()
        columns = tuple(self._array(name, code) for name, code in zip(COLUMNS, TYPES, strict=True))
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            raise TraceError(f"its columns differ in length: {', '.join(map(str, sorted(lengths)))}")
        trace = Trace(
            columns,
            _texts(names, "contexts"),
            _texts(names, "objects"),
            [_site(p) for p in _list(names, "sites")],
            _number(names, "cpus", 1, 1024),
            _number(names, "end", 0, 1 << 62),
            [_found(f) for f in _list(names, "findings")],
            _texts(names, "marks"),
            _texts(names, "kinds"),
            _texts(names, "context_kinds"),
        )
        _check(trace)
        return trace

    def _names(self) -> dict[str, Any]:
        text = self._array("names", "B", NAMES_LIMIT).tobytes()
        try:
            names = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TraceError(f"names.npy holds no JSON ({error})") from None
        if not isinstance(names, dict) or names.get("format") != FORMAT:
            raise TraceError("names.npy does not say that this is a vtdkit trace")
        if names.get("version") != VERSION or names.get("event_kinds") != list(KINDS):
            raise TraceError(
                f"saved by another version of vtdkit: format {names.get('version')!r:.20}, this one reads "
                f"{VERSION}"
            )
        return names

    def _array(self, name: str, code: str, limit: int = LIMIT) -> array[int]:
        info = self.members.get(f"{name}.npy")
        if info is None:
            raise TraceError(f"{name}.npy is missing")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise TraceError(
                f"{name}.npy is packed in a way that no saved trace is (method {info.compress_type})"
            )
        limit = min(limit, self.left)
        if info.file_size > limit:
            raise TraceError(f"{name}.npy has {info.file_size} bytes; at most {limit} are read")
        self.left -= info.file_size
        with self.file.open(info) as member:
            data = member.read(info.file_size)
            if len(data) != info.file_size or member.read(1):
                raise TraceError(f"{name}.npy is not as long as the directory says")
        return _array(name, code, data)


def _array(name: str, code: str, data: bytes) -> array[int]:
    """An .npy file's one-dimensional array."""
    length = int.from_bytes(data[8:10], "little")
    match = HEADER.fullmatch(data[10 : 10 + length])
    if not data.startswith(MAGIC) or match is None:
        raise TraceError(f"{name}.npy does not begin as an array of numbers does")
    if match[1].decode() != DTYPES[code]:
        raise TraceError(f"{name}.npy holds {match[1].decode()} numbers, not {DTYPES[code]}")
    column: array[int] = array(code)
    if len(data) - 10 - length != int(match[2]) * column.itemsize:
        raise TraceError(f"{name}.npy is cut short: {int(match[2])} numbers promised")
    column.frombytes(data[10 + length :])
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _list(names: dict[str, Any], key: str) -> list[Any]:
    value = names.get(key)
    if not isinstance(value, list):
        raise TraceError(f"names.npy: {key!r} is not a list")
    return value


def _texts(names: dict[str, Any], key: str) -> list[str]:
    return [_text(value) for value in _list(names, key)]


def _text(value: Any) -> str:
    try:
        if isinstance(value, str) and value.encode() is not None:
            return value
    except UnicodeEncodeError:
        pass  # half a surrogate pair: JSON can say it, no file or screen can show it
    raise TraceError(f"names.npy: {value!a:.40} is not a text")


def _number(names: dict[str, Any], key: str, low: int, high: int) -> int:
    value = names.get(key)
    if type(value) is not int or not low <= value <= high:
        raise TraceError(f"names.npy: {key!r} is {value!r:.40}, not a number from {low} to {high}")
    return value


def _site(value: Any) -> Site:
    if not isinstance(value, list) or len(value) != 3 or type(value[2]) is not int:
        raise TraceError(f"names.npy: {value!r:.40} is not a place")
    return Site(_text(value[0]), _text(value[1]), value[2])


def _found(value: Any) -> Finding:
    if not isinstance(value, dict):
        raise TraceError(f"names.npy: {value!r:.40} is not a finding")
    return Finding(
        _text(value.get("kind")),
        _text(value.get("where")),
        tuple(map(_site, _list(value, "sites"))),
        tuple(_texts(value, "contexts")),
        tuple(_texts(value, "held")),
        tuple(map(_site, _list(value, "stack"))),
        _text(value.get("text")),
        _number(value, "time", 0, 1 << 62),
        _text(value.get("replay")),
    )


def _check(trace: Trace) -> None:
    """Every number must point into its table; times must not go back."""
    columns: Columns = trace.columns
    tables: dict[str, tuple[int, int]] = {
        "time": (0, trace.end + 1),
        "cpu": (-1, trace.cpus),
        "context": (0, len(trace.contexts)),
        "kind": (0, len(KINDS)),
        "object": (0, len(trace.objects)),
        "site": (0, len(trace.sites)),
    }
    for name, (low, high) in tables.items():
        column = trace.column(name)
        if column and not low <= min(column) <= max(column) < high:
            raise TraceError(f"{name}.npy has a number outside {low}..{high - 1}")
    if any(map(int.__gt__, columns[0], columns[0][1:])):
        raise TraceError("time.npy goes back in time")
    if len(trace.kinds) != len(trace.objects) or len(trace.context_kinds) != len(trace.contexts):
        raise TraceError("names.npy: there are not as many kinds as names")
    _check_notes(trace, MARK, trace.marks)
    _check_notes(trace, FOUND, trace.findings)


def _check_notes(trace: Trace, kind: int, table: Sequence[object]) -> None:
    if any(
        k == kind and not 0 <= arg < len(table)
        for k, arg in zip(trace.column("kind"), trace.column("arg"), strict=True)
    ):
        raise TraceError(f"arg.npy: a {KINDS[kind]} that is not in the list")
