"""Layouts of bits as records: what `bits.js` needs to take any value apart into named fields.

One row a run of bits, high bits first, as `Structure.rows` gives them: name, first and last bit, whether
hardware uses the bits, ignores them or wants them 0, and what they mean. Which bits are reserved depends on
the unit, so a layout is made for an environment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vtdkit.views.shared.record import Record
from vtdkit.vtd.tables.layout import Environment, Row, Structure

from .words import TITLES, glossary


def layout_record(structure: Structure, environment: Environment, translation_type: str = "") -> Record:
    """The rows of `structure` under `environment`; `translation_type` (FS, SS, NEST, PT) says what the
    entry is used for.
    """
    rows = structure.rows(environment, translation_type)
    return {
        "name": structure.name.removesuffix("_REG"),
        "title": TITLES[structure.name.removesuffix("_REG")],
        "width": structure.width,
        "source": structure.source,
        "rows": [_row(row, environment) for row in rows],
    }


def _row(row: Row, environment: Environment) -> dict[str, Any]:
    field = row.part
    made: dict[str, Any] = {"name": field.name, "high": row.high, "low": row.low, "state": row.state}
    if row.state == "reserved" and field.state(environment) == "used":
        return made | {"name": "reserved", "meaning": f"not implemented in {field.name}"}
    missing = [name for name in field.needs if not environment[name]]
    made["meaning"] = f"must be 0: this unit has no {' and no '.join(missing)}" if missing else field.meaning
    values = {str(value): text for value, text in field.values}
    access = "" if field.access == "RW" else field.access
    more = {"address": field.address, "values": values, "access": access}
    return made | {name: told for name, told in more.items() if told}


def glossary_of(layouts: Iterable[Record]) -> dict[str, str]:
    """What the abbreviations in the rows of some layouts stand for."""
    rows = (row for layout in layouts for row in layout["rows"])
    return glossary(text for row in rows for text in (row["meaning"], *row.get("values", {}).values()))
