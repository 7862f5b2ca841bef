"""Nobody who writes driver code here forgets an `await`: a primitive that is called and not
awaited does nothing, silently.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import vtdkit
import vtdkit.kernel
from vtdkit.kernel.checkers import awaits

PACKAGE = Path(vtdkit.__file__).parent
BUILTIN = {name for kind in (list, set, dict, str, bytes) for name in dir(kind)}


def awaited_names() -> set[str]:
    """Methods of the kernel room that must be awaited, and that no list, set, dict or text has."""
    names = set()
    for path in set((PACKAGE / "kernel").rglob("*.py")) - set((PACKAGE / "kernel").rglob("__init__.py")):
        module = importlib.import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if cls.__module__.startswith("vtdkit.kernel"):
                names |= {
                    name
                    for name, value in vars(cls).items()
                    if inspect.isfunction(value)
                    and not name.startswith("_")
                    and (
                        value.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE
                        or inspect.iscoroutinefunction(value)
                    )
                }
    return names - BUILTIN


PLAIN = {  # plain functions of drivers that return something to await
    "flush_context",
    "flush_iotlb",
    "iommu_flush_write_buffer",
    "clflush",
    "domain_flush_cache",
    "put_pages_list",
    "iommu_iotlb_gather_add_page",
}
OTHERS = {"read", "write", "get"}  # files and registers have them too
NAMES = awaits.NAMES | PLAIN


def forgotten(source: str, names: set[str]) -> list[tuple[int, str]]:
    """(line, name) of the calls in async functions that stand alone, though what they call
    is to be awaited.
    """
    tree = ast.parse(source)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)}
    names = names | own - BUILTIN - OTHERS
    found = []
    for outer in ast.walk(tree):
        if not isinstance(outer, ast.AsyncFunctionDef):
            continue
        for node in ast.walk(outer):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                called = node.value.func
                name = (
                    called.attr
                    if isinstance(called, ast.Attribute)
                    else called.id
                    if isinstance(called, ast.Name)
                    else ""
                )
                if name in names:
                    found.append((node.lineno, name))
    return sorted(set(found))


def test_the_names_are_those_of_the_primitives() -> None:
    """Those a student calls; what only the kit's own parts call by themselves is not among them."""
    inner = {
        "alloc",
        "alloc_run",
        "field",
        "device",
        "opened",
        "busy_wait",
        "sleep_on",
        "moment",
        "take",
        "drop",
        "free",
        "stop",
        "stop_then",
        "register",
    }
    plain = {"work", "store", "store32", "copy_in", "read_once", "write_once"}
    assert awaited_names() - OTHERS - inner - awaits.NAMES == set()
    assert awaits.NAMES - awaited_names() - plain == set()


def test_a_call_without_await_is_found() -> None:
    source = (
        "async def f(lock):\n    lock.acquire()\n    await lock.release()\n    g()\n"
        "async def g():\n    set().add(1)\n"
    )
    assert forgotten(source, NAMES) == [(2, "acquire"), (4, "g")]


@pytest.mark.parametrize("room", ["iommu", "series", "lab", "kernel"])
def test_no_driver_code_forgets_one(room: str) -> None:
    slips = {
        str(path.relative_to(PACKAGE)): found
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if (found := forgotten(path.read_text(encoding="utf-8"), NAMES))
    }
    assert slips == {}
