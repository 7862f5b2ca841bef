"""Text of unknown origin made into lines: any encoding, quoted mails, time stamps, wrapped lines.

`chunks` decodes and cuts, in bounded memory, whatever the text is. A line keeps what stands before the
message (time, host, level): patterns are searched, not anchored. `bare` is a line without all that, for what
goes on in the line before it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

from vtdkit.vtd import plain as plainly

LONGEST = 2000  #: characters of a line that are looked at

_QUOTED = re.compile(r"^[ \t]*(?:[>|+][ \t]?)+")
_ANSI = re.compile(r"\x1b\[[0-9;]{0,12}[A-Za-z]")
# Levels, times and hosts as dmesg, journalctl and syslog put them; each part is bounded.
_BEFORE = re.compile(
    r"""^\s*(?:<\d{1,3}>\s*)?
    (?:(?:kern|user|daemon)\s{0,4}:\w{1,8}\s{0,4}:\s)?
    (?:(?:[A-Z][a-z]{2}\s+\d{1,2}|\d{4}-\d\d-\d\dT?)\s?\d\d:\d\d:\d\d[\d.,+:Z-]{0,16}\s+(?P<host>[\w.-]{1,64})\s+
       |(?P<host2>[\w.-]{1,64})\s+(?=kernel:))?
    (?:[A-Z]{3,7}\s+(?=kernel:))?(?:kernel:\s?)?
    (?:\[(?:\ {0,8}\d{1,12}\.\d{1,9}|\ {0,8}[TC]\d{1,8}
       |[A-Z][a-z]{2}\ [A-Z][a-z]{2}\ {1,2}\d{1,2}\ [\d:]{8}\ \d{4})\]\s?){0,3}
    (?:kernel:\s)?""",
    re.X,
)


def chunks(data: Iterable[bytes]) -> Iterator[str]:
    """Pieces of text that end with a line. What is no text is replaced, and a line without an end is cut."""
    decoder, rest = None, ""
    for piece in data:
        if decoder is None:
            wide = piece[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
            decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")("replace")
        whole, end, rest = (rest + decoder.decode(piece)).rpartition("\n")
        rest = rest[: 4 * LONGEST]
        if end:
            yield whole + end
    if rest:
        yield rest + "\n"


def plain(line: str) -> str:
    """A line without carriage return, colours, the marks of a quotation, and what a terminal would obey."""
    line = line[:LONGEST].rstrip("\r")
    if "\x1b" in line:
        line = _ANSI.sub("", line)
    if not line.isprintable():
        line = "".join(c if c.isprintable() or c == "\t" else " " for c in line)
    if line[:4].lstrip()[:1] in (">", "|", "+"):
        line = _QUOTED.sub("", line)
    return line


def bare(line: str) -> str:
    """A line without level, time and host."""
    return _BEFORE.sub("", plain(line), count=1)


def host(line: str) -> str:
    """The host that a syslog line names, "" if it is none."""
    found = _BEFORE.match(plain(line))
    return (found.group("host") or found.group("host2") or "") if found else ""


def echo(text: str) -> str:
    """As much of a text as may be quoted, on one line, nothing in it that a terminal would obey."""
    return plainly.echo("".join(c if c.isprintable() else " " for c in text[: 4 * plainly.ECHO]).strip())
