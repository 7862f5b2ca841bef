"""What a patch is here: a class that holds just what it changed, and a record that describes it.

The class of patch n derives from that of patch n-1 and overrides the functions the patch touched,
nothing else; `removed` marks those it deleted. So the method resolution order is the git log, the class
body the diffstat, and before/after views come from the source of two methods. A `PatchInfo` computes all
this from the class.
"""

from __future__ import annotations

import difflib
import inspect
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from vtdkit.iommu.intel.driver import IntelIommu

T = TypeVar("T")


class removed:
    """Stands where a patch deleted a function: using it says which patch took it away."""

    def __init__(self, why: str) -> None:
        self.why = why

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        if obj is None:
            return self
        raise AttributeError(
            f"{type(obj).__name__} ({obj.title}) has no {kernel_name(self.name)}: it is gone, {self.why}"
        )

    def __repr__(self) -> str:
        return f"<{kernel_name(self.name)} removed: {self.why}>"


def as_in_v1(function: Callable[..., T]) -> Callable[..., T]:
    """Marks a function that a mainline commit has exactly as a patch of v1 has it."""
    return function


def kernel_name(name: str) -> str:
    """The kernel's name of a method: two underscores in front where Python has to do with one."""
    return f"_{name}" if name.startswith("_") else name


def source_of(cls: type, name: str) -> str:
    """The source of a method as class `cls` has it, dedented; empty if there is none or it was removed."""
    found = inspect.getattr_static(cls, name, None)
    gone = found is None or isinstance(found, removed)
    return "" if gone else textwrap.dedent(inspect.getsource(found))


@dataclass(frozen=True, slots=True)
class Change:
    """One function, before and after. Either may be empty: the function was added, or removed."""

    function: str
    before: str
    after: str

    def diff(self, context: int = 3) -> str:
        """The change as a unified diff of our source."""
        lines = difflib.unified_diff(
            self.before.splitlines(),
            self.after.splitlines(),
            f"before: {self.function}",
            f"after: {self.function}",
            lineterm="",
            n=context,
        )
        return "\n".join(lines)

    @property
    def diffstat(self) -> tuple[int, int]:
        """Lines added and removed."""
        first = [line[0] for line in self.diff(0).splitlines()[2:]]
        return first.count("+"), first.count("-")

    def __repr__(self) -> str:
        return f"<{self.function}: +{self.diffstat[0]} -{self.diffstat[1]}>"


@dataclass(frozen=True, slots=True)
class PatchInfo:
    """One patch of the series, or one commit of mainline.

    `number` counts from 1 (0: before the series). `title` is the patch's own subject, `claim` what its author
    says it does (in our words), `commit` the mainline commit if it got there, `posted` the date.
    """

    number: int
    driver: type[IntelIommu]
    claim: str
    posted: str = ""
    commit: str = ""
    fate: str = ""

    @property
    def title(self) -> str:
        """The subject line."""
        return self.driver.title

    @property
    def parent(self) -> type[IntelIommu]:
        """The driver before this patch."""
        return self.driver.__mro__[1]

    @property
    def changes(self) -> Mapping[str, Change]:
        """What the class body holds, in order, before and after, by the kernel's name; nothing before the
        first patch.
        """
        return {
            kernel_name(name): Change(
                kernel_name(name), source_of(self.parent, name), source_of(self.driver, name)
            )
            for name, value in vars(self.driver).items()
            if self.number and (inspect.isfunction(value) or isinstance(value, removed))
        }

    @property
    def changed(self) -> tuple[str, ...]:
        """The kernel's names of the functions the patch touched, added or removed
        (`init_locks` stands for declarations).
        """
        return tuple(name for name in self.changes if name != "init_locks")

    @property
    def diffstat(self) -> tuple[int, int]:
        """Lines added and removed in our source."""
        stats = [change.diffstat for change in self.changes.values()]
        return sum(added for added, _ in stats), sum(gone for _, gone in stats)

    def __repr__(self) -> str:
        added, gone = self.diffstat
        count = f"{len(self.changed)} function{'s' * (len(self.changed) != 1)}"
        return f"<patch {self.number:02}: {self.title} ({count}, +{added} -{gone})>"
