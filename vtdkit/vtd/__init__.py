"""The remapping hardware, as Intel's VT-d specification defines it. It knows no Linux and does no I/O.

    from vtdkit.vtd import Capabilities, Memory, RemappingUnit, Request, sid

`README.md` beside this file is the map of the room. The names below are fetched from their modules when first
used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .capabilities import BadCapabilities as BadCapabilities
    from .capabilities import Capabilities as Capabilities
    from .check import check_folder as check_folder
    from .device_tlb import Endpoint as Endpoint
    from .diagnostics import Note as Note
    from .dmar import BadDmar as BadDmar
    from .dmar import Dmar as Dmar
    from .events import Message as Message
    from .hooks import Hooks as Hooks
    from .image import BadImage as BadImage
    from .image import Image as Image
    from .image_memory import ImageMemory as ImageMemory
    from .interrupts import NotModelled as NotModelled
    from .job import Access as Access
    from .layout import Entry as Entry
    from .layout import Field as Field
    from .layout import Structure as Structure
    from .memory import AccessError as AccessError
    from .memory import Memory as Memory
    from .memory import MemoryPort as MemoryPort
    from .npz import BadFile as BadFile
    from .oracle import Oracle as Oracle
    from .page_requests import PageRequestAnswer as PageRequestAnswer
    from .page_requests import PageResponse as PageResponse
    from .queue import QueueStep as QueueStep
    from .quirks import QEMU_7_2 as QEMU_7_2
    from .quirks import QEMU_10 as QEMU_10
    from .quirks import SPECIFICATION as SPECIFICATION
    from .quirks import Quirks as Quirks
    from .reasons import REASONS as REASONS
    from .reasons import Reason as Reason
    from .registers import BadRegisterAccess as BadRegisterAccess
    from .requests import BadRequest as BadRequest
    from .requests import Completion as Completion
    from .requests import Fault as Fault
    from .requests import Interrupt as Interrupt
    from .requests import PageRequest as PageRequest
    from .requests import Request as Request
    from .requests import Translation as Translation
    from .requests import bdf as bdf
    from .requests import sid as sid
    from .stale import StaleEntry as StaleEntry
    from .stale import explain as explain
    from .survey import MappedRange as MappedRange
    from .survey import Survey as Survey
    from .trace import Step as Step
    from .trace import Walk as Walk
    from .unit import RemappingUnit as RemappingUnit

_HOMES = {
    "capabilities": "BadCapabilities Capabilities",
    "check": "check_folder",
    "device_tlb": "Endpoint",
    "diagnostics": "Note",
    "dmar": "BadDmar Dmar",
    "events": "Message",
    "hooks": "Hooks",
    "image": "BadImage Image",
    "image_memory": "ImageMemory",
    "interrupts": "NotModelled",
    "job": "Access",
    "layout": "Entry Field Structure",
    "memory": "AccessError Memory MemoryPort",
    "npz": "BadFile",
    "oracle": "Oracle",
    "page_requests": "PageRequestAnswer PageResponse",
    "queue": "QueueStep",
    "quirks": "QEMU_10 QEMU_7_2 Quirks SPECIFICATION",
    "reasons": "REASONS Reason",
    "registers": "BadRegisterAccess",
    "requests": "BadRequest Completion Fault Interrupt PageRequest Request Translation bdf sid",
    "stale": "StaleEntry explain",
    "survey": "MappedRange Survey",
    "trace": "Step Walk",
    "unit": "RemappingUnit",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
