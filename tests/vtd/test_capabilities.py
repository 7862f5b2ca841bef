"""Capabilities: registers derived and read back, illegal combinations refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from vtdkit.vtd.capabilities import BadCapabilities, Capabilities
from vtdkit.vtd.registers.capability import ECAP_NEEDS

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
    assert (caps.domain_bits, caps.SSLPS, caps.FRO, caps.IRO) == (16, 3, 0x22, 0x0F)
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
    with pytest.raises(BadCapabilities, match=reason):
        Capabilities(**changes)


@pytest.mark.parametrize(("name", "needed"), [(n, m) for n, group in ECAP_NEEDS.items() for m in group])
def test_each_dependency_between_bits_is_enforced(name: str, needed: str) -> None:
    everything: dict[str, Any] = dict.fromkeys([*ECAP_NEEDS, *(m for g in ECAP_NEEDS.values() for m in g)], 1)
    Capabilities(**everything)
    with pytest.raises(BadCapabilities, match=f"{name}=1 needs {needed}=1"):
        Capabilities(**{**everything, needed: 0})


def test_a_reserved_field_follows_its_capability() -> None:
    from vtdkit.vtd.tables.entries import PASID_ENTRY

    with_it = PASID_ENTRY.reserved_mask(Capabilities.scalable(SC=1).environment)
    without = PASID_ENTRY.reserved_mask(Capabilities.scalable(SC=0).environment)
    assert with_it ^ without == 1 << 88


def test_the_repr_names_what_differs_from_the_default() -> None:
    assert repr(Capabilities(HAW=39, CM=1)) == "Capabilities(HAW=39, CM=1)"
    assert repr(Capabilities()) == "Capabilities()"
