"""Capabilities: registers derived and read back, illegal combinations refused with a reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtdkit.vtd.capabilities import BadCapabilities, Capabilities
from vtdkit.vtd.memory import Memory
from vtdkit.vtd.registers.capability import ECAP_NEEDS
from vtdkit.vtd.unit.unit import RemappingUnit

# CAP and ECAP of a widely used emulator under several options: worked out from its source, some seen running.
EMULATED = [
    (0x80D2_008C_222F_0606, 0x0000_0000_0000_0F42),
    (0x80D2_008C_2226_0206, 0x0000_0000_0000_0F42),
    (0x80D2_008C_222F_0686, 0x0000_0000_0000_0F42),
    (0x80D2_008C_222F_0606, 0x0000_0000_00F0_0F4A),
    (0x80D2_008C_222F_0606, 0x0000_0000_00F0_0F5A),
    (0x80D2_008C_222F_0606, 0x0000_4800_8000_0F42),
    (0x81D2_008C_222F_0606, 0x0000_8800_0000_0F42),
    (0x00D2_008C_2226_0206, 0x0000_0000_0000_0F46),
]


@pytest.mark.parametrize(("cap", "ecap"), EMULATED)
def test_registers_read_from_machines_are_derived_again(cap: int, ecap: int) -> None:
    caps = Capabilities.from_registers(cap, ecap)
    assert (caps.cap, caps.ecap) == (cap, ecap)


def test_the_fields_mean_what_they_say() -> None:
    caps = Capabilities.from_registers(0x80D2_008C_222F_0606, 0x0000_0000_00F0_0F4A, haw=39, ver=0x10)
    assert (caps.MGAW, caps.SAGAW, caps.widths, caps.NFR, caps.MAMV) == (48, 0b00110, (39, 48), 1, 18)
    assert (caps.did_mask, caps.SSLPS, caps.FRO, caps.IRO) == (0xFFFF, 3, 0x22, 0x0F)
    assert (caps.HAW, caps.major, caps.ver) == (39, 1, 0x10)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ND": 7}, "ND=7 is out of range: 0 to 6"),
        ({"SSLPS": 2}, "SSLPS=2: legal are 0"),
        ({"SAGAW": 0b10000}, "only bits 1"),
        ({"SMTS": 1, "RWBF": 1}, "RWBF must be 0"),
        ({"QI": 0}, "DT=1 needs QI=1"),
        ({"HAW": 60}, "HAW=60 is out of range"),
        ({"iotlb_entries": 0}, "iotlb_entries must be at least 1"),
        ({"iotlb_page": 8192}, "4K, 2M or 1G"),
        ({"CM": 2}, "CM=2 is a single bit"),
    ],
)
def test_illegal_combinations_say_what_and_why(changes: dict[str, Any], reason: str) -> None:
    capabilities = Capabilities(**changes)
    assert any(reason in oddity for oddity in capabilities.odd)
    with pytest.raises(BadCapabilities, match=re.escape(reason)):
        RemappingUnit(Memory(), capabilities)


@pytest.mark.parametrize(("name", "needed"), [(n, m) for n, group in ECAP_NEEDS.items() for m in group])
def test_each_dependency_between_bits_is_enforced(name: str, needed: str) -> None:
    everything: dict[str, Any] = dict.fromkeys([*ECAP_NEEDS, *(m for g in ECAP_NEEDS.values() for m in g)], 1)
    Capabilities(**everything).check()
    with pytest.raises(BadCapabilities, match=f"{name}=1 needs {needed}=1"):
        Capabilities(**{**everything, needed: 0}).check()


def test_a_reserved_field_follows_its_capability() -> None:
    from vtdkit.vtd.tables.entries import PASID_ENTRY

    with_it = PASID_ENTRY.reserved_mask(Capabilities.scalable(SC=1).environment)
    without = PASID_ENTRY.reserved_mask(Capabilities.scalable(SC=0).environment)
    assert with_it ^ without == 1 << 88


def test_the_repr_names_what_differs_from_the_default() -> None:
    assert repr(Capabilities(HAW=39, CM=1)) == "Capabilities(HAW=39, CM=1)"
    assert repr(Capabilities()) == "Capabilities()"


# Name: CAP, ECAP, host address width, version as read at boot from machines of many kinds.
MACHINES = {
    name: (int(cap, 16), int(ecap, 16), int(haw), int(ver, 16))
    for name, cap, ecap, haw, ver in (
        line.split()
        for line in (Path(__file__).parent / "public" / "caps.txt").read_text().splitlines()
        if not line.startswith("#")
    )
}
EXTENDED = ("SKL-gfx", "GLK-gfx", "TGL-gfx")
OLD = {
    "GM45-a": ("CAP bit 23 is set: deprecated (was ISOCH)",),
    "Arrandale": ("CAP bit 23 is set: deprecated (was ISOCH)", "ECAP bit 5 is set: deprecated"),
    "SNB-gfx": ("CAP bit 23 is set: deprecated (was ISOCH)",),
}


@pytest.mark.parametrize("name", MACHINES)
def test_whatever_a_machine_reports_is_decoded_and_derived_again(name: str) -> None:
    """§3.1: reading is never refused by rules for building."""
    cap, ecap, haw, ver = MACHINES[name]
    caps = Capabilities.from_registers(cap, ecap, haw=haw, ver=ver)
    assert (caps.cap, caps.ecap, caps.ver, caps.HAW) == (cap, ecap, ver, haw)
    if name in EXTENDED:
        assert caps.extended_mode
        assert "extended mode" in caps.odd[0]
    elif "all-ones" in name:
        assert caps.odd == ("CAP and ECAP are all ones: nobody answers at this address",)
    else:
        assert caps.odd == OLD.get(name, ())


def test_extended_mode_is_read_named_and_refused_only_for_building() -> None:
    """§3.1: ECAP bit 24 before SMTS existed."""
    caps = Capabilities.from_registers(0x1C0000C40660462, 0x7E3FF0505E, haw=39, ver=0x10)
    assert (caps.extended_mode, caps.MGAW, caps.HAW, caps.SMTS, caps.IRO) == (True, 39, 39, 0, 0x50)
    assert caps.odd == (
        "ECAP bit 24 (ECS) without SMTS: bits 25 to 40 speak of extended mode, which is not modelled",
        "ECAP bit 27 is set: deprecated (was DIS, deferred invalidation)",
        "ECAP bit 28 is set: deprecated (was PASID, now bit 40)",
    )
    with pytest.raises(BadCapabilities, match="extended mode"):
        RemappingUnit(Memory(), caps)
    plain = caps.buildable()
    assert (plain.odd, plain.DT, plain.NEST, plain.PRS, plain.cap) == ((), 1, 0, 0, caps.cap)
    RemappingUnit(Memory(), plain)


def test_a_machine_whose_host_address_width_nobody_told_is_read() -> None:
    """§3.1: Sapphire Rapids has MGAW 57, and no table entry has room for that many bits."""
    caps = Capabilities.from_registers(0x19ED008C40780C66, 0x3EE9E86F050DF)
    assert (caps.MGAW, caps.HAW, caps.widths, caps.odd) == (57, 52, (48, 57), ())
    RemappingUnit(Memory(), caps)


@pytest.mark.parametrize("haw", [53, 57, 64, 256])
def test_a_host_address_width_that_cannot_be_is_kept_and_named(haw: int) -> None:
    """§3.1: HAW above 52, as a DMAR table may say."""
    caps = Capabilities.from_registers(0xD2008C222F0606, 0xF00F5E, haw=haw)
    assert (caps.HAW, caps.odd) == (haw, (f"HAW={haw} is out of range: 32 to 52",))
    assert caps.buildable().HAW == 52
    with pytest.raises(BadCapabilities, match="out of range"):
        RemappingUnit(Memory(), caps)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cap": "0xd2"}, "CAP is a str, not a number such as 0xd2008c222f0686"),
        ({"ecap": None}, "ECAP is None, not a number such as 0xd2008c222f0686"),
        ({"ver": 1.0}, "VER is a float, not a number such as 0xd2008c222f0686"),
        ({"haw": "39"}, "HAW is a str, not a number such as 0xd2008c222f0686"),
        ({"cap": 1 << 64}, "CAP is 0x10000000000000000, which is no number of 64 bits"),
        ({"ecap": -1}, "ECAP is -0x1, which is no number of 64 bits"),
    ],
)
def test_what_is_no_register_is_one_clear_error(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadCapabilities) as caught:
        Capabilities.from_registers(**{"cap": 0xD2008C222F0606, "ecap": 0xF00F5E, **given})
    assert str(caught.value) == said


def test_numpy_numbers_are_numbers() -> None:
    np = pytest.importorskip("numpy")
    given = np.uint64(0xD2008C222F0606), np.uint64(0xF00F5E)
    assert Capabilities.from_registers(*given) == Capabilities.from_registers(*map(int, given))


WORDS = st.integers(0, (1 << 64) - 1)


@given(cap=WORDS, ecap=WORDS, haw=st.none() | st.integers(1, 256), ver=st.integers(0, 255))
def test_every_pair_of_words_is_read(cap: int, ecap: int, haw: int | None, ver: int) -> None:
    """§3.1, as its kind: no value of CAP and ECAP is refused, and none loses a bit."""
    caps = Capabilities.from_registers(cap, ecap, haw=haw, ver=ver)
    assert (caps.cap, caps.ecap, caps.ver) == (cap, ecap, ver)
    assert all(isinstance(line, str) for line in caps.odd)
    again = caps.buildable()
    assert not any(" needs " in line for line in again.odd)
    assert again.buildable() == again
