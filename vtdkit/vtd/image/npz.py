"""Reading `.npz` and gzipped JSON files that came from somewhere else, without trusting them.

Only what the folders of machines need: arrays of unsigned 64-bit numbers, in a zip archive, uncompressed or
deflated. No pickle, no numpy. Every length is checked before anything that large is made, so a file of a few
kilobytes cannot ask for gigabytes. Whatever is wrong raises `BadFile` with the file's name and one sentence.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import sys
import zipfile
import zlib
from array import array
from pathlib import Path
from typing import IO, Any, TypeAlias

from vtdkit.vtd.plain import echo, quoted

MAX_PAGES = 8_192
MAX_ARRAY_BYTES = MAX_PAGES * 4096
MAX_JSON_BYTES = 4 << 20
MAX_PLAIN_BYTES = 1 << 20


class BadFile(ValueError):
    """A file that cannot be read: missing, cut short, of the wrong kind, or too large to be what it says it
    is.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{echo(path.parent.name)}/{echo(path.name)}: {problem}")


Words: TypeAlias = "tuple[tuple[int, ...], array[int]]"
"""An array of 64-bit numbers: its shape, and the numbers one after the other."""


def _regular(path: Path) -> None:
    """Refuse what is not there, and what is no file: opening a pipe would wait for ever."""
    if not path.is_file():
        raise BadFile(path, "is no regular file" if path.exists() else "is missing")


def read_npz(path: Path, names: tuple[str, ...]) -> list[Words]:
    """The arrays called `names` from an `.npz` archive. Raises BadFile."""
    _regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return [_read_npy(path, name, archive.open(f"{name}.npy")) for name in names]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, KeyError) as error:
        raise BadFile(path, f"is no readable npz archive ({echo(error)})") from None


# What numpy writes before the data of a plain array, as in
# {'descr': '<u8', 'fortran_order': False, 'shape': (264, 512), }
_HEADER = re.compile(rb"\{'descr': '<u8', 'fortran_order': False, 'shape': \((\d+),(?: (\d+))?\)(?:, )?\}\s*")


def _read_npy(path: Path, name: str, stream: IO[bytes]) -> Words:
    start = stream.read(10)  # magic, version 1.0, length of the header
    if start[:7] != b"\x93NUMPY\x01":
        raise BadFile(path, f"{name} is no numpy array")
    header = stream.read(min(int.from_bytes(start[8:], "little"), 1024))
    found = _HEADER.fullmatch(header)
    if found is None:
        raise BadFile(path, f"{name} is no plain array of 64-bit numbers: {quoted(header)}")
    shape = tuple(int(extent) for extent in found.groups() if extent)
    size = 8 * math.prod(shape)
    if size > MAX_ARRAY_BYTES:
        raise BadFile(path, f"{name} says it holds {echo(size)} bytes; the limit is {MAX_ARRAY_BYTES}")
    data = stream.read(size + 1)
    if len(data) != size:
        raise BadFile(path, f"{name} holds {len(data)} bytes where its shape {shape} needs {size}")
    words = array("Q", data)
    if sys.byteorder == "big":
        words.byteswap()
    return shape, words


def read_json(path: Path) -> object:
    """The contents of a JSON file, gzipped if its name ends in .gz. Raises BadFile."""
    text = read_bytes(path, MAX_JSON_BYTES)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFile(path, f"is not JSON ({echo(error)})") from None


def read_bytes(path: Path, limit: int = MAX_PLAIN_BYTES) -> bytes:
    """A file of at most `limit` bytes, unpacked if its name ends in .gz. Raises BadFile."""
    _regular(path)
    try:
        with path.open("rb") as plain, gzip.GzipFile(fileobj=plain) as unpacked:
            data = (unpacked if path.suffix == ".gz" else plain).read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadFile(path, f"cannot be read ({echo(error)})") from None
    if len(data) > limit:
        raise BadFile(path, f"is larger than {limit} bytes")
    return data


def number(value: Any, bits: int = 64) -> int:
    """A number given as hex text or as it is. Raises ValueError if it does not fit in `bits`."""
    if isinstance(value, str) and len(value) <= 20:
        value = int(value, 16)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << bits:
        raise ValueError(f"{quoted(value)} is no number of {bits} bits")
    return value
