"""Which of a device's addresses are in use: `occupancy(image, device)` asks a guest's unit, and
`heat_figure(found)` draws the answer as a map.

Each small square is a piece of the address space, 64 of them in a row, the lowest address at the left of the
lowest row. The more of it is mapped, the larger and darker the square: size says the same as colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vtdkit.iommu.pinning import PAGE_SHIFT
from vtdkit.views.shared.html import Html, tag
from vtdkit.views.shared.palette import HUES, PAPER
from vtdkit.views.shared.sheet import Picture, Sheet, coordinate, written
from vtdkit.vtd.image.image import Image
from vtdkit.vtd.image.survey import Survey
from vtdkit.vtd.requests import sid, size_name

ROW, SIDE, LEFT = 64, 7, 90  # cells in a row; pixels of a cell; pixels left of the map
SHADES = ("sky", "blue", "ink")
CELLS = 4096  # of a map


@dataclass(frozen=True, slots=True, repr=False)
class Occupancy:
    """Which addresses of a device lead somewhere: how many pages of each of 4,096 cells, from address `first`
    on, a cell being `cell` pages.
    """

    device: str
    driver: str
    first: int
    cell: int
    cells: tuple[int, ...]

    @property
    def used(self) -> list[int]:
        """The numbers of the cells that are not empty."""
        return [number for number, pages in enumerate(self.cells) if pages]

    def __repr__(self) -> str:
        asked = f"{sum(self.cells):,} of {CELLS * self.cell:,} pages from {self.first:#x} on"
        return f"<{self.device} ({self.driver}): {asked}, in {len(self.used)} of {CELLS:,} cells>"


def occupancy(image: Image, device: str, first: int = 0, cell: int = 256) -> Occupancy:
    """Ask whether a device of a real machine may read or write a page, for all pages below 4 GiB: a million
    translations. A smaller `cell`, from `first` on, looks closer. Without numpy the tables are read instead
    of asked; the answer is the same.
    """
    source = sid(device)
    try:
        counts = _translated(image, source, first, cell)
    except ModuleNotFoundError:
        counts = _surveyed(image, source, first, cell)
    return Occupancy(device, image.drivers.get(source, "none"), first, cell, tuple(counts))


def _translated(image: Image, source: int, first: int, cell: int) -> list[int]:
    import numpy as np

    pages = np.uint64(first) + (np.arange(CELLS * cell, dtype=np.uint64) << np.uint64(PAGE_SHIFT))
    reads, writes = (image.unit.translate_many(source, pages, kind).granted for kind in ("read", "write"))
    return [int(count) for count in (reads | writes).reshape(CELLS, cell).sum(axis=1)]


def _surveyed(image: Image, source: int, first: int, cell: int) -> list[int]:
    survey, counts = Survey(image.unit), [0] * CELLS
    space, _ = survey.space(source)
    for found in survey.ranges(space) if space is not None else ():
        for page in range(found.iova - first >> PAGE_SHIFT, found.iova - first + found.size >> PAGE_SHIFT):
            if 0 <= page < CELLS * cell:
                counts[page // cell] += 1
    return counts


# -- the map --------------------------------------------------------------------


def heat_figure(found: Occupancy, never: Sequence[tuple[int, int]] = (), title: str = "") -> Picture:
    """The map of one device. `never`: ranges that are never given out, first and last address."""
    rows = len(found.cells) // ROW
    sheet = Sheet(f"{title or 'Addresses in use'}: {found!r}", title or f"{found.device} ({found.driver})")
    sheet.draw(
        rows * SIDE + 26,
        tag("rect", x=LEFT, y=0, width=ROW * SIDE, height=rows * SIDE, fill=PAPER["raised"]),
        *(part for span in never for part in _never(found, rows, *span)),
        *_cells(found, rows),
        *_scale(found, rows),
    )
    shades = "; the larger and darker, the more of it is mapped"
    more = (shades if found.cell > 1 else ", drawn where it is mapped") + (
        ". Grey: never given out" if never else ""
    )
    sheet.text(f"Each square {size_name(found.cell * 4096)}{more}.", ink="soft", size=12)
    return sheet.picture()


def _place(cell: int, rows: int) -> tuple[float, float]:
    """The upper left corner of a cell."""
    return LEFT + cell % ROW * SIDE, (rows - 1 - cell // ROW) * SIDE


def _cells(found: Occupancy, rows: int) -> Iterator[Html]:
    for cell in found.used:
        part = found.cells[cell] / found.cell
        side = 3 + (SIDE - 4) * part**0.5
        x, y = _place(cell, rows)
        shade = SHADES[min(int(part * len(SHADES)), len(SHADES) - 1)]
        at = {"x": coordinate(x + (SIDE - side) / 2), "y": coordinate(y + (SIDE - side) / 2)}
        hue = PAPER[shade] if shade == "ink" else HUES[shade].light
        yield tag("rect", **at, width=coordinate(side), height=coordinate(side), fill=hue)


def _never(found: Occupancy, rows: int, first: int, last: int) -> Iterator[Html]:
    """The cells of a range, row by row."""
    low, high = ((address - found.first) // (found.cell * 4096) for address in (first, last))
    for row in range(low // ROW, high // ROW + 1):
        begin, end = max(low, row * ROW), min(high, row * ROW + ROW - 1)
        x, y = _place(begin, rows)
        at = {"x": coordinate(x), "y": coordinate(y), "width": (end - begin + 1) * SIDE, "height": SIDE}
        yield tag("rect", **at, fill=PAPER["faint"])


def _scale(found: Occupancy, rows: int) -> Iterator[Html]:
    for quarter in range(5):
        y = rows * (4 - quarter) / 4 * SIDE
        address = found.first + quarter * len(found.cells) * found.cell * 1024
        yield written(
            LEFT - 8, y + (4 if quarter < 4 else 10), f"{address:#x}", size=12, anchor="end", mono=True
        )
        yield tag("path", d=f"M{LEFT - 5} {coordinate(y)}h5", stroke=PAPER["line"])
