"""Words for the names of bits: what a structure is for, and what each abbreviation in a
field's meaning stands for.

Names are the specification's and mostly capitals; whoever reads one for the first time gets it explained.
Most abbreviations are names of fields, whose declaration says what they mean; the rest is here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from vtdkit.vtd.registers import register_map
from vtdkit.vtd.tables import descriptors
from vtdkit.vtd.tables import entries as tables
from vtdkit.vtd.tables import interrupts as interrupt_tables
from vtdkit.vtd.tables import pages as stages
from vtdkit.vtd.tables.layout import Structure

TITLES: Mapping[str, str] = {
    "root entry": "one bus: where its context table is",
    "scalable-mode root entry": "one bus: where its two context tables are",
    "context entry": "one device: where its page tables are, and its domain",
    "scalable-mode context entry": "one device: where its PASID directory is",
    "PASID directory entry": "64 address spaces: where their PASID table is",
    "PASID table entry": "one address space: where its page tables are, and how they are used",
    "SS-PML5E/PML4E": "second stage, level 5 or 4: leads to a table",
    "SS-PDPE/PDE": "second stage, level 3 or 2: leads to a table",
    "SS-PDPE 1G": "second stage, level 3: maps 1 GiB",
    "SS-PDE 2M": "second stage, level 2: maps 2 MiB",
    "SS-PTE": "second stage, level 1: maps 4 KiB",
    "FS-PML5E/PML4E": "first stage, level 5 or 4: leads to a table",
    "FS-PDPE/PDE": "first stage, level 3 or 2: leads to a table",
    "FS-PDPE 1G": "first stage, level 3: maps 1 GiB",
    "FS-PDE 2M": "first stage, level 2: maps 2 MiB",
    "FS-PTE": "first stage, level 1: maps 4 KiB",
    "HPT-L4E": "host permission table, level 4",
    "HPT-L3E": "host permission table, level 3",
    "HPT-L2E": "host permission table, level 2",
    "HPT-L1E": "host permission table, level 1",
    "cc_inv_dsc": "invalidation descriptor: forget context entries",
    "iotlb_inv_dsc": "invalidation descriptor: forget translations of a domain",
    "dev_tlb_inv_dsc": "invalidation descriptor: make a device forget translations",
    "iec_inv_dsc": "invalidation descriptor: forget interrupt entries",
    "inv_wait_dsc": "invalidation descriptor: say when all before it are done",
    "p_iotlb_inv_dsc": "invalidation descriptor: forget translations of one PASID",
    "pc_inv_dsc": "invalidation descriptor: forget PASID table entries",
    "p_dev_tlb_inv_dsc": "invalidation descriptor: make a device forget translations of one PASID",
    "page_grp_resp_dsc": "answer to a device's page requests",
    "hpt_inv_dsc": "invalidation descriptor: forget host permissions",
    "page request": "what hardware queues when a device asks for a page",
    "IRTE": "interrupt remapping table entry, remapped format",
    "IRTE, posted": "interrupt remapping table entry, posted format",
    "posted interrupt descriptor": "where interrupts for a virtual processor are noted",
    "remappable interrupt address": "the address of a write that is an interrupt",
    "VER": "version of the architecture",
    "CAP": "capabilities: what this unit can do",
    "ECAP": "extended capabilities",
    "GCMD": "global command: switches things on and off",
    "GSTS": "global status: what is on",
    "RTADDR": "root table address",
    "CCMD": "context command: forget context entries, by register",
    "FSTS": "fault status",
    "FECTL": "fault event control",
    "FEDATA": "fault event message data",
    "FEADDR": "fault event message address",
    "FEUADDR": "fault event message address, upper half",
    "PMEN": "protected memory enable",
    "PLMBASE": "protected low memory: first address",
    "PLMLIMIT": "protected low memory: last address",
    "PHMBASE": "protected high memory: first address",
    "PHMLIMIT": "protected high memory: last address",
    "IQH": "invalidation queue head: what hardware does next",
    "IQT": "invalidation queue tail: where software adds",
    "IQA": "invalidation queue address",
    "ICS": "invalidation completion status",
    "IECTL": "invalidation event control",
    "IEDATA": "invalidation event message data",
    "IEADDR": "invalidation event message address",
    "IEUADDR": "invalidation event message address, upper half",
    "IQERCD": "invalidation queue error record",
    "IRTA": "interrupt remapping table address",
    "PQH": "page request queue head",
    "PQT": "page request queue tail",
    "PQA": "page request queue address",
    "PRS": "page request status",
    "PECTL": "page request event control",
    "PEDATA": "page request event message data",
    "PEADDR": "page request event message address",
    "PEUADDR": "page request event message address, upper half",
    "IVA": "invalidate address",
    "IOTLB": "invalidate translations, by register",
    "FRCD": "fault record: one refused request",
}

_ABBREVIATIONS = {
    "UC": "memory type: uncached",
    "WC": "memory type: write combining",
    "WT": "memory type: write-through",
    "WP": "memory type: write-protected",
    "WB": "memory type: write-back",
    "PAT": "page attribute table: memory types of pages",
    "DMA": "direct memory access: a device reads or writes memory by itself",
    "IOTLB": "the unit's memory of finished lookups",
    "TLB": "a memory of finished lookups",
    "TLBs": "memories of finished lookups",
    "PASID": "process address space id: tells address spaces of one device apart",
    "RID_PASID": "the PASID of requests that carry none",
    "RID_PRIV": "requests without PASID count as the operating system's",
    "AM": "address mask: how many pages, as a power of two",
    "ONE_GB": "1 GiB pages in the second stage (a bit of CAP.SSLPS)",
    "TWO_MB": "2 MiB pages in the second stage (a bit of CAP.SSLPS)",
    "SMI": "system management interrupt",
    "NMI": "interrupt that cannot be masked",
    "INIT": "interrupt that resets a processor",
    "ExtINT": "interrupt from an external controller",
    "SID": "source id: bus, device and function of who asks",
    "PS": "page size: this entry maps a page instead of leading to a table",
    "GCMD": "the global command register",
    **dict.fromkeys(("AFL", "ECS", "ISOCH", "LPIG", "NXE", "SMEP"), "an older name; no longer defined"),
}
_TOKEN = re.compile(r"\b[A-Z][A-Za-z0-9_]*[A-Z0-9][A-Za-z0-9_]*\b")
_NUMBERS = {"FEE", "FF", "FEE00000", "FEEFFFFF"}


@cache
def layouts() -> Mapping[str, Structure]:
    """Every structure the hardware model declares, by name; a register under its name without _REG."""
    every = [
        *tables.TABLES,
        *stages.PAGE_ENTRIES,
        *stages.PERMISSION_ENTRIES,
        *descriptors.DESCRIPTORS,
        descriptors.PAGE_REQUEST,
    ]
    every += [
        *interrupt_tables.INTERRUPT_TABLES,
        *(register.layout for register in register_map.REGISTERS),
        register_map.FRCD,
    ]
    return {structure.name.removesuffix("_REG"): structure for structure in every}


@cache
def _fields() -> Mapping[str, str]:
    """Names of fields to what their declaration says; those of the capabilities last, so
    that theirs are taken.
    """
    capabilities = [layouts()[name] for name in ("CAP", "ECAP")]
    return {
        field.name: field.meaning
        for structure in (*layouts().values(), *capabilities)
        for field in structure.fields
        if field.role == "used" and field.meaning
    }


def abbreviations(text: str) -> list[str]:
    """The abbreviations in a text."""
    return [word for word in _TOKEN.findall(text) if word not in _NUMBERS]


def explain(word: str) -> str:
    """What an abbreviation stands for; empty for one that nobody explains."""
    return _ABBREVIATIONS.get(word) or TITLES.get(word) or _fields().get(word, "")


def glossary(texts: Iterable[str]) -> dict[str, str]:
    """The abbreviations in `texts` that can be explained, with what they stand for, in order."""
    words = sorted({word for text in texts for word in abbreviations(text)})
    return {word: explain(word) for word in words if explain(word)}
