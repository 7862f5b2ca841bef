"""Memory: sparse; and that of the tests, which can be broken and watched."""

from __future__ import annotations

import pytest

from vtdkit.vtd.memory import AccessError

from .rig import Access, Rigged


def test_pages_come_into_being_when_written_and_absent_ones_cannot_be_accessed() -> None:
    memory = Rigged()
    memory[0x1008] = 5
    assert (memory[0x1008], memory[0x1000], memory[0x9000]) == (5, 0, 0)
    assert memory.read64(0x1008) == 5
    for access in (
        lambda: memory.read64(0x9000),
        lambda: memory.cmpxchg64(0x9000, 0, 1),
    ):
        with pytest.raises(AccessError, match="0x9000: no memory there"):
            access()
    assert memory.page(0x9000) == 0x9000
    assert memory.read64(0x9000) == 0


def test_ranges_can_be_broken_or_made_read_only_and_healed() -> None:
    memory = Rigged()
    memory.page(0x1000)
    memory.fail(0x1010, 0x1018)
    memory.read_only(0x1020, 0x1028)
    assert memory.read64(0x1018) == memory.read64(0x1020) == 0
    with pytest.raises(AccessError, match="access refused"):
        memory.read64(0x1010)
    with pytest.raises(AccessError, match="access refused"):
        memory.cmpxchg64(0x1020, 0, 1)
    memory.heal()
    memory.cmpxchg64(0x1020, 0, memory.read64(0x1010) + 7)
    assert memory[0x1020] == 7


def test_compare_and_exchange_returns_what_it_found() -> None:
    memory = Rigged()
    memory[0x1000] = 5
    assert memory.cmpxchg64(0x1000, 4, 9) == 5
    assert memory[0x1000] == 5
    assert memory.cmpxchg64(0x1000, 5, 9) == 5
    assert memory[0x1000] == 9


def test_a_log_sees_what_hardware_does_and_not_what_software_does() -> None:
    memory = Rigged()
    memory.log = []
    memory[0x1000] = 1
    memory.read64(0x1000)
    memory.cmpxchg64(0x1008, 0, 3)
    assert memory[0x1008] == 3
    assert memory.log == [Access("read", 0x1000, 1), Access("cmpxchg", 0x1008, 3)]


def test_misaligned_accesses_and_wide_values_are_mistakes() -> None:
    memory = Rigged()
    memory.page(0x1000)
    for mistake in (
        lambda: memory.read64(0x1004),
        lambda: memory.cmpxchg64(0x1001, 0, 0),
        lambda: memory.__setitem__(0x1004, 0),
        lambda: memory.__setitem__(0x1000, 1 << 64),
    ):
        with pytest.raises(ValueError, match="aligned to 8 bytes"):
            mistake()


def test_whole_pages_can_be_read_where_nothing_in_them_is_broken() -> None:
    memory = Rigged()
    memory[0x1008] = 5
    memory.page(0x2000)
    memory.fail(0x2000, 0x2008)
    page = memory.read_page(1)
    assert page is not None
    assert page[:2] == [0, 5]
    assert memory.read_page(2) is None
    assert memory.read_page(3) is None
