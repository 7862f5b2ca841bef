"""Versions that do the same in a scenario: one of them is run, and the others have its findings.

A version is the class of its driver, and a run gets to see of that class what it looks up in it. So while one
version runs, the names are noted that are looked up and are not the same object in all versions; another
version in which each of these names is the same object runs the same code with the same data in every order.

    driver, used = noting(VERSIONS["v8"])     a class that behaves as v8 and notes in `used` what is looked up
    alike(VERSIONS["v9"], VERSIONS["v8"], used)

It holds because versions are a chain of classes, each with one base; what a method finds by `super()` is
below it in that chain, so for one that has `super()` all definitions below count. Special methods are looked
up past such notes: no version has any of its own, which the test sees to.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from inspect import isfunction
from typing import Any

from vtdkit.iommu.intel.driver import IntelIommu
from vtdkit.series.catalogue import SERIES
from vtdkit.series.mainline import versions as mainline

Driver = type[IntelIommu]


def definitions(driver: Driver, name: str) -> tuple[Any, ...]:
    """What a name stands for in a version: nothing, one thing, or a method and all that its `super()` may
    reach."""
    found = tuple(vars(cls)[name] for cls in driver.__mro__ if name in vars(cls))
    inherits = found and isfunction(found[0]) and "__class__" in found[0].__code__.co_freevars
    return found if inherits else found[:1]


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def alike(one: Driver, other: Driver, used: Iterable[str]) -> bool:
    """Are these names the same in both versions?"""
    return all(_same(definitions(one, name), definitions(other, name)) for name in used)


@cache
def varying() -> tuple[str, ...]:
    """The names that are not the same in all versions."""
    drivers = [info.driver for info in (*SERIES, *mainline.SERIES)]
    names = {name for driver in drivers for cls in driver.__mro__ for name in vars(cls)}
    first = drivers[0]
    return tuple(
        sorted(
            name
            for name in names
            if not name.startswith("__") and not all(alike(first, each, [name]) for each in drivers)
        )
    )


class _Noted:
    """Stands for an attribute of a class, and notes that it was looked up."""

    def __init__(self, driver: Driver, name: str, used: set[str]) -> None:
        self.found, self.name, self.used = definitions(driver, name)[:1], name, used

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        self.used.add(self.name)
        if not self.found:
            raise AttributeError(f"no {self.name}")
        what = self.found[0]
        return what.__get__(obj, owner) if hasattr(what, "__get__") else what


def noting(driver: Driver) -> tuple[Driver, set[str]]:
    """A class that behaves as this version, and the set of what was looked up so far, of what varies."""
    used = set[str]()
    return type(driver.__name__, (driver,), {name: _Noted(driver, name, used) for name in varying()}), used
