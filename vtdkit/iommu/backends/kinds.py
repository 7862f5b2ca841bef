"""The back-ends by name, each a function of a machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vtdkit.kernel.machine.machine import Machine

from .amd_v1 import AmdV1
from .arm_lpae import ArmLpae
from .backend import Backend
from .driver import on_core
from .intel import intel
from .simple import RkDomain


def arm(machine: Machine, *, hd: bool = False) -> Backend:
    """One domain on Arm's table."""
    return on_core(machine, ArmLpae(machine, hd=hd))


def amd(machine: Machine, *, seqcount: bool = False) -> Backend:
    """One domain on AMD's table."""
    return on_core(machine, AmdV1(machine, seqcount=seqcount))


def simple(machine: Machine) -> Backend:
    """One domain of the simple driver."""
    return on_core(machine, RkDomain(machine))


BACKENDS: dict[str, Callable[[Machine], Backend]] = {
    "intel": intel,
    "intel first stage": partial(intel, stage="first"),
    "arm": arm,
    "amd": amd,
    "simple": simple,
}
