"""Driver objects whose fields are watched: what `struct`s with shared fields are here.

A driver class lists its shared fields with `shared()`; every plain access (`obj.field`, `obj.field = x`)
is then seen by the checkers: use after free and fields that are not there (KASAN), data races (KCSAN). Fields
written once before the object is visible to anybody are ordinary attributes.

A plain access is not a place where another thread can get in between, so a driver that shares a field without
a lock writes it with `await obj.write(field=x)` or `await obj.write_once(field=x)` (the kernel's WRITE_ONCE)
and reads it with `await obj.read("field")` or `read_once`: steps of their own, also for the explorer.

Objects come from `machine.kmalloc(cls, ...)` and go with `machine.kfree(obj)`, which count, can be made to
fail, and poison.

Example::

    class device_domain_info(KObject):
        \"\"\"... Guards: `domain` by device_domain_lock.\"\"\"
        domain = shared()
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from sys import _getframe
from types import FunctionType, coroutine
from typing import Any, ClassVar

from vtdkit.kernel.checkers.races import Cell
from vtdkit.kernel.machine.host import Host
from vtdkit.kernel.record.sites import ANYWHERE, Spot, here


class shared(property):
    """A watched field of a `KObject`; the optional value is what it starts as.

    A property whose functions are made for each field anew: each then is only ever called for objects of
    one class, and the interpreter's short cuts for looking attributes up hold (measured: 100 ns a read,
    140 with one function for all fields).
    """

    def __init__(self, default: Any = None) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        super().__init__(_own_code(_getter(name)), _own_code(_setter(name)))
        owner.__shared__ = {**owner.__shared__, name: self.default}  # type: ignore[attr-defined]


def _own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with a copy of its code."""
    assert isinstance(function, FunctionType)
    return FunctionType(function.__code__.replace(), globals(), function.__name__, None, function.__closure__)


def _getter(name: str) -> Callable[[Any], Any]:
    def get(obj: Any) -> Any:
        cell, context = obj.cells[name], obj.sched.current
        if cell.reader is context.vc:
            if cell.tick != context.tick:
                # nobody else wrote since it looked last: only its own count went up (see
                # `Cell.catch_up`), or what it wrote itself
                cell.tick, access, frame = context.tick, cell.last, _getframe(1)
                access.code, access.offset = frame.f_code, frame.f_lasti
                if not cell.reads:
                    cell.reads[context.id] = access
        elif obj.check.watching:
            obj.check.touch_field(obj, name, False, ANYWHERE.at(_getframe(1)), False)
        return cell.value

    return get


def _setter(name: str) -> Callable[[Any, Any], None]:
    def set(obj: Any, value: Any) -> None:
        cell, context = obj.cells[name], obj.sched.current
        if cell.writer is context.vc:
            # nobody else touched it since it wrote last: nothing to compare with
            access, frame = cell.write, _getframe(1)
            access.count, access.code, access.offset = context.vc[context.id], frame.f_code, frame.f_lasti
            if cell.reads:
                cell.reads.clear()
                cell.tick = -1
        elif obj.check.watching:
            obj.check.touch_field(obj, name, True, ANYWHERE.at(_getframe(1)), False)
        cell.value = value

    return set


class KObject:
    """A driver object in the machine's memory. `label` names it in findings; `freed` is the place that
    freed it, or None.
    """

    __shared__: ClassVar[dict[str, Any]] = {}  # the watched fields, with what they start as

    def __init__(self, machine: Host, label: str = "") -> None:
        self.machine: Any = machine  # drivers use all of it
        self.sched, self.check = machine.sched, machine.check
        self.label = label or type(self).__name__
        self.cells = {name: Cell(value) for name, value in self.__shared__.items()}
        self.freed: Spot | None = None
        self.allocated: Spot | None = None
        self.serial = self.check.new_object(self)

    def name_of_field(self, field: str) -> str:
        """What a finding calls one of the fields."""
        return f"{type(self).__name__}.{field}"

    # -- accesses that are steps of their own --------------------------------

    @coroutine
    def read(self, field: str, marked: bool = False) -> Generator[int | None, None, Any]:
        """A plain read as a step of its own: another thread may run just before it."""
        yield from self.machine.steps.field(self, field, False)
        return self._access(field, False, marked, here())

    def read_once(self, field: str) -> Awaitable[Any]:
        """READ_ONCE: a marked read, a step of its own."""
        return self.read(field, marked=True)

    def write(self, **values: Any) -> Awaitable[None]:
        """A plain write as a step of its own (one for each field, in the order given)."""
        return self._write(values, marked=False)

    def write_once(self, **values: Any) -> Awaitable[None]:
        """WRITE_ONCE: a marked write, a step of its own."""
        return self._write(values, marked=True)

    @coroutine
    def _write(self, values: dict[str, Any], marked: bool) -> Generator[int | None, None, None]:
        for field, value in values.items():
            yield from self.machine.steps.field(self, field, True)
            self._access(field, True, marked, here())
            self.cells[field].value = value

    def _access(self, field: str, write: bool, marked: bool, place: Spot) -> Any:
        if field not in self.__shared__:
            raise AttributeError(
                f"{type(self).__name__} has no shared field {field!r}; "
                f"it has {', '.join(self.__shared__) or 'none'}",
                name=field,
                obj=self,
            )
        if self.check.watching:
            self.check.touch_field(self, field, write, place, marked)
        return self.cells[field].value

    def peek(self, field: str) -> Any:
        """The value without any check: for observers and pictures, not for drivers."""
        return self.cells[field].value

    def preset(self, **values: Any) -> None:
        """What fields start as, in a constructor: nobody can have seen the object yet,
        so nothing is checked.
        """
        for field, value in values.items():
            self.cells[field].value = value

    def __repr__(self) -> str:
        return f"<{self.label}{' (freed)' if self.freed is not None else ''}>"
