"""Where a thread of an explored machine stands: the line of driver source, and the operation it is about
to do, in words.

Both are read off the chain of coroutines that await each other: the innermost frame of shown source says the
line, the frame of the kernel room's primitive below it says the operation and what it is done to.
"""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple

from vtdkit.kernel.locks.base import Lock
from vtdkit.kernel.memory.objects import KObject
from vtdkit.kernel.memory.pages import Page
from vtdkit.kernel.record.sites import short_path

SHOWN = ("vtdkit/iommu/", "vtdkit/series/", "vtdkit/lab/scenarios/")
LONGEST = 200  # lines of one function

LOCK_WORDS = {"acquire": "take {}", "release": "let go of {}", "trylock": "try to take {}"}
PAGE_WORDS = {
    "load": "read {}",
    "store": "write {}",
    "cmpxchg": "compare and exchange {}",
    "_modify": "change {}",
    "relax_until_written": "watch {} until it is written",
}
OTHER_WORDS = {
    "load": "read {}",
    "store": "write {}",
    "modify": "change {}",
    "relax_while": "watch {} until it changes",
    "wait": "wait for {}",
    "complete": "complete {}",
    "complete_all": "complete {}",
    "wait_event": "wait for {}",
    "wake_up": "wake up {}",
    "read_lock": "enter an RCU read-side section",
    "read_unlock": "leave the RCU read-side section",
    "synchronize": "wait until all present RCU readers have left",
}
OBJECT_WORDS = {
    "read": "read {}",
    "read_once": "read {}",
    "write": "write {}",
    "write_once": "write {}",
    "add": "add to {}",
    "add_tail": "add to {}",
    "_link": "add to {}",
    "del_": "delete from {}",
    "__anext__": "read {}",
}


class Op(NamedTuple):
    """What a thread is about to do: in words; and the word of a page or the field of an object that
    it does it to.
    """

    words: str
    page: Page | None = None
    word: int = 0
    object: KObject | None = None
    field: str = ""


def frames(coro: Any) -> Iterator[FrameType]:
    """The frames of a suspended coroutine, outermost first."""
    while coro is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(coro, f"{kind}_frame")), None)
        if kind is None:
            return
        frame = getattr(coro, f"{kind}_frame")
        if frame is not None:
            yield frame
        coro = getattr(coro, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")


def op_of(process: Any) -> Op:
    """What a process is about to do."""
    if not process.started:
        return Op("begin")
    for frame in frames(process.coro):
        if "vtdkit/kernel/" in short_path(frame.f_code.co_filename) and (found := _op(frame)) is not None:
            return found
    return Op("go on")


def _op(frame: FrameType) -> Op | None:
    """The operation of one of the kernel room's frames, if it is one."""
    name, local = frame.f_code.co_name, frame.f_locals
    thing = local.get("self")
    if isinstance(thing, Lock) and name in LOCK_WORDS:
        side = {True: " to write", False: " to read"}.get(local.get("writer"), "")  # type: ignore[arg-type]
        return Op(LOCK_WORDS[name].format(thing.name) + side)
    if isinstance(thing, Page) and name in PAGE_WORDS:
        return Op(PAGE_WORDS[name].format(f"{thing.name}[{local['index']}]"), page=thing, word=local["index"])
    if name == "free" and isinstance(local.get("page"), Page):
        return Op(f"free {local['page'].name}")
    if isinstance(thing, KObject) and name in OBJECT_WORDS:
        field = local.get("field") or ("items" if hasattr(type(thing), "items") else "")
        return Op(OBJECT_WORDS[name].format(thing.name_of_field(field)), object=thing, field=field)
    if name == "kfree" and isinstance(local.get("obj"), KObject):
        return Op(f"free {local['obj'].label}")
    if name == "_device_step" and "address" in local:
        page = (
            thing.pages.page(local["address"]) if thing is not None and local["address"] is not None else None
        )
        return Op("look into the unit's caches") if page is None else Op(f"read a word of {page.name}")
    if thing is not None and name in OTHER_WORDS:
        return Op(OTHER_WORDS[name].format(getattr(thing, "name", type(thing).__name__)))
    return None


class Sources:
    """The functions that are shown, in order of first appearance. `make` builds the record of one."""

    def __init__(self, scenario: Any, make: Callable[[str, str, int, tuple[str, ...]], Any]) -> None:
        code = getattr(getattr(scenario, "func", scenario), "__code__", None)
        self.own = code.co_filename if code is not None else ""
        self.make = make
        self.found: list[Any] = []
        self.codes: list[CodeType] = []
        self._numbers: dict[CodeType, int] = {}

    def shows(self, code: CodeType) -> bool:
        """Is a function's source shown?"""
        return code.co_filename == self.own or short_path(code.co_filename).startswith(SHOWN)

    def number(self, code: CodeType) -> int:
        """The number of a function, read when first asked for."""
        known = self._numbers.get(code)
        if known is None:
            known = self._numbers[code] = len(self.found)
            self.codes.append(code)
            lines = _lines(code)
            self.found.append(
                self.make(_shown_name(code), short_path(code.co_filename), code.co_firstlineno, lines)
            )
        return known


def _lines(code: CodeType) -> tuple[str, ...]:
    """The source of a function; what can be had of it."""
    linecache.checkcache(code.co_filename)
    try:
        lines, _ = inspect.getsourcelines(code)
    except (OSError, TypeError):
        return (f"(the source of {code.co_name} is not at hand)",)
    indent = len(lines[0]) - len(lines[0].lstrip())
    return tuple(line.rstrip("\n")[indent:] for line in lines[:LONGEST])


def _shown_name(code: CodeType) -> str:
    """`Patch01.show_device_domain_translation`, or the bare name of a function inside another."""
    return code.co_qualname.split("<locals>.")[-1]


def standing(process: Any, sources: Sources) -> tuple[int, int, tuple[str, ...]]:
    """The innermost shown function, the line in it, and the functions on the way there."""
    shown = [frame for frame in frames(process.coro) if sources.shows(frame.f_code)]
    if not shown:
        return -1, 0, ()
    inner = shown[-1]
    line = inner.f_lineno or inner.f_code.co_firstlineno
    return sources.number(inner.f_code), line, tuple(_shown_name(frame.f_code) for frame in shown)


class Lines:
    """While it is open, notes which lines of shown functions run; `seen` are (code, line) in order."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.seen: list[tuple[CodeType, int]] = []

    def __enter__(self) -> Lines:
        self.before = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        sys.settrace(self.before)

    def _called(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._line if self.sources.shows(frame.f_code) else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self.seen.append((frame.f_code, frame.f_lineno))
        return self._line
