"""How records of this room show themselves in a notebook cell: by name, numbers as hardware people read them.
And how text from outside is repeated: never whole, and never as it is.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

ECHO = 80


def echo(text: object) -> str:
    """Text that came from outside (a file, a command line), as a message may repeat it: at most 80
    characters, and none that moves the cursor or hides.
    """
    start = str(text)[: ECHO + 1]
    clean = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in start)
    return clean if len(clean) <= ECHO else clean[: ECHO - 1] + "…"


def quoted(value: object) -> str:
    """The same between quotation marks, where it would not be clear what is quoted."""
    return echo(repr(value))


def said(error: Exception, source: object) -> str:
    """What is wrong, for people: of an OSError the file and the reason without its number, of bytes that are
    no text the `source` they came from, of any other error its own sentence.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{_file(error.filename or source)}: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return f"{_file(source)}: is not text in UTF-8 (byte {error.start}); save it as UTF-8"
    return str(error) if isinstance(error, ValueError | OSError) else f"{_file(source)}: {error}"


def _file(path: object) -> str:
    """A path, bounded as all text from outside; of a long one the end, where the file's name is."""
    text = str(path)
    return echo(text if len(text) <= ECHO else "…" + text[1 - ECHO :])


def told(*rules: tuple[object, str]) -> list[str]:
    """The sentences of those rules that are broken."""
    return [sentence for broken, sentence in rules if broken]


def number(value: Any) -> str:
    """A value for people: numbers from 10 up in hex, text bounded, everything else as it is."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 9:
        return f"{value:#x}"
    return quoted(value) if isinstance(value, str | bytes) else repr(value)


def shown(record: Any) -> str:
    """The `repr` of a dataclass, in the order of its arguments: fields that still have their default are left
    out.
    """
    parts = (
        f"{f.name}={number(getattr(record, f.name))}"
        for f in sorted(fields(record), key=lambda f: bool(f.kw_only))
        if f.repr and getattr(record, f.name) != f.default
    )
    return f"{type(record).__name__}({', '.join(parts)})"
