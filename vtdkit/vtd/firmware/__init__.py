"""The ACPI table DMAR, by which firmware tells which units there are.

dmar.py  the table read and written byte for byte, every structure of it a record; `Dmar.problems` lists
         the rules a table breaks, those that Linux warns about among them
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "dmar": "BadDmar Dmar",
    },
)
