"""The explorer on other makers' tables: the browser's walk against the hardware's own, and what stands still."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.views.javascript import call
from tests.views.widgetpage import WidgetPage
from vtdkit.iommu.backends.backend import Backend
from vtdkit.iommu.backends.kinds import BACKENDS
from vtdkit.kernel.machine.machine import Machine
from vtdkit.views.pagetables.backends import BackendExplorer

PAGE, BLOCK = 1 << 12, 1 << 21
WALK = """(module, given) => given.queries.map(([address, kind, held]) => {
  const found = module.walk(given.record, BigInt(address), kind, held);
  return [found.answer, found.steps.map((step) => [step.level, step.raw])];
})"""


def made(kind: str, seed: int = 0) -> Backend:
    """A back-end on which a good deal was mapped, unmapped, and looked up."""
    back, chance = BACKENDS[kind](Machine(checkers=(), record=False)), random.Random(seed)
    for _ in range(40):
        iova = chance.randrange(1100) * PAGE
        size, prot = chance.choice((1, 2, 16, 64, 512, 700)) * PAGE, chance.choice((1, 3))
        if not any(back.run(back.iova_to_phys(iova + at)) for at in range(0, size, PAGE)):
            back.run(back.map(iova, 0x4000_0000 + iova + chance.choice((0, 0, PAGE)), size, prot))
    back.run(back.map(5 << 30, 0x8000_0000, BLOCK))
    return back


@pytest.mark.parametrize("kind", ["amd", "arm"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_browser_walks_as_the_unit_does(kind: str, seed: int) -> None:
    back, chance = made(kind, seed), random.Random(seed)
    walker: Any = back.table.walker
    widget = BackendExplorer(back)
    queries = [(chance.randrange(1900) * PAGE + 0x18, chance.choice(("read", "write"))) for _ in range(120)]
    queries += [((5 << 30) + 0x1238, "write"), (1 << 38, "read"), (1 << 60, "read")]
    record = widget.record["sides"][0]
    found = call(
        "pagetables/pagewalk.js",
        WALK,
        {"record": record, "queries": [[hex(at), how, False] for at, how in queries]},
    )
    granted = 0
    for (at, how), (told, steps) in zip(queries, found, strict=True):
        walker.translations.clear()
        walker.uppers.clear()
        answer = back.run(back.walk(at, how))
        assert told["ok"] == (answer.address is not None), (hex(at), how, told, answer)
        assert [[level, int(raw, 16)] for level, raw in steps] == [[s.level, s.raw] for s in answer.looked]
        if told["ok"]:
            granted += 1
            assert (int(told["address"], 16), int(told["size"], 16)) == (answer.address, answer.size)
            assert (told["readable"], told["writable"]) == (answer.readable, answer.writable)
    assert 10 < granted < 123


def test_what_the_unit_remembers_is_shown_as_stale() -> None:
    back = made("arm")
    back.run(back.walk((5 << 30) + 8))
    table: Any = back.table
    back.run(table.deref(table.pgd.address).store(0, 0))  # an entry is cleared and nobody invalidates
    held = BackendExplorer(back).record["sides"][0]["held"]
    assert [(each["low"], each["stale"]) for each in held["iotlb"]] == [("0x140000000", True)]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("amd", "✓ the device reads 0x5000: memory 0x40005000, 64K page, read and write."),
        ("arm", "✓ the device reads 0x5000: memory 0x40005000, 4K page, read and write."),
    ],
)
def test_it_says_what_it_shows_and_stands_still(kind: str, text: str) -> None:
    back = BACKENDS[kind](Machine())
    back.run(back.map(0, 0x4000_0000, 16 * PAGE))
    widget = BackendExplorer(back, iova=0x5000)
    assert repr(widget) == f"<BackendExplorer {text}>"
    picture = str(widget.still().svg)
    assert "page tables of" in picture
    assert "bytes at 0x4000" in picture
    refused = BackendExplorer(back, iova=0x50000)
    assert "refused" in refused.summary()
    assert "not there" in refused.still().svg
    assert refused.record["sides"][0]["ranges"] == [["0x0", "0x10000", "0x40000000", "rw"]]


@pytest.mark.parametrize("kind", ["intel", "simple"])
def test_other_tables_are_refused(kind: str) -> None:
    with pytest.raises(TypeError, match="give a back-end of Arm or AMD"):
        BackendExplorer(BACKENDS[kind](Machine()))


@pytest.mark.browser
@pytest.mark.parametrize("hosted", [False, True])
def test_keys_move_by_entries_and_a_page_of_replicas_is_one_page(browser: Any, hosted: bool) -> None:
    back = BACKENDS["amd"](Machine())
    back.run(back.map(0, 0x4000_0000, 24 * PAGE))
    back.run(back.walk(0xF000))
    with WidgetPage(browser, BackendExplorer(back, iova=0xF000), hosted=hosted) as page:
        assert page.status().startswith(
            "the device reads 0xf000 → memory 0x4000_f000. 64 KiB page, read and write"
        )
        address = page.slider("DMA address")
        address.press("ArrowRight")
        assert page.position("iova") == "0x10000"
        assert "32 KiB page" in page.status()
        address.press("ArrowUp")
        address.press("ArrowRight")
        assert page.position("iova") == "0x210000"
        assert "refused" in page.status()
        assert page.complaints() == []
