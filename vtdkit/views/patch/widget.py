"""The patch view: what a patch changed, function by function, beside the locks each function took in a run.

    PatchView(SERIES[1])
    before, after = locks_taken(old.trace()), locks_taken(new.trace())
    PatchView(SERIES[1], before=before, after=after)

Arrow keys up and down choose the function, left and right what is shown: before, both, after. All is in
the record, so a page without a kernel shows the same.
"""

from __future__ import annotations

import traitlets

from vtdkit.series.patch import PatchInfo
from vtdkit.views.shared.base import POSITION, Widget
from vtdkit.views.shared.bundle import module, style
from vtdkit.views.shared.record import Record
from vtdkit.views.shared.sheet import Picture

from .locks import Locks
from .record import patch_record
from .still import patch_still

WORDS = (
    ("patch", "a change to source text that its author mails to others, who read it before it is merged"),
    (
        "lock",
        "whoever has it goes on, all others wait: a spin lock by looking again and "
        "again, a mutex by sleeping",
    ),
    ("interrupts off", "this processor puts off all interrupts, so no handler can get in between"),
    (
        "longest hold",
        "virtual time, in which memory, locks and hardware cost something, plain "
        "instructions nothing: may be 0 ns",
    ),
    ("IOMMU, iommu", "the unit between devices and memory that translates the addresses devices use"),
    ("domain", "a set of page tables, and the devices that use them"),
    ("PASID", "process address space id: tells address spaces of one device apart"),
    ("commit", "the number of a change in the kernel's repository"),
)


class PatchView(Widget):
    """One patch as a before/after comparison of our source, with locks.

    - `patch`: an entry of `vtdkit.series.SERIES` or of `mainline.SERIES`
    - `before`, `after`: what was measured without and with the patch: function → (lock, how, ns held), as
      `locks_taken` makes it; without them nothing is said of locks
    - `function`: the function to begin with, by its kernel name

    Position: `function`, and `shown` ("before", "both", "after"). Raises ValueError for a patch without
    changes, for a function that it does not touch.
    """

    _esm = module("patch/patch.js")
    _css = style("patch/patch.css")
    function = traitlets.Unicode("").tag(**POSITION)
    shown = traitlets.Enum(("before", "both", "after"), "both").tag(**POSITION)

    def __init__(
        self,
        patch: PatchInfo,
        *,
        before: Locks | None = None,
        after: Locks | None = None,
        function: str | None = None,
        shown: str = "both",
    ) -> None:
        record = patch_record(patch, before, after)
        names = [each["name"] for each in record["functions"]]
        if function is not None and function not in names:
            raise ValueError(f"the patch does not touch {function!r}; it touches {', '.join(names)}")
        super().__init__({**record, "words": WORDS}, function=function or names[0], shown=shown)

    @property
    def chosen(self) -> Record:
        """The part of the record on the present function."""
        functions: list[Record] = self.record["functions"]
        return next((each for each in functions if each["name"] == self.function), functions[0])

    def summary(self) -> str:
        chosen = self.chosen
        return (
            f"{self.record['title']}; {chosen['name']} {chosen['kind']}, +{chosen['added']} -{chosen['gone']}"
        )

    def still(self) -> Picture:
        return patch_still(self.record, self.chosen, self.summary())
