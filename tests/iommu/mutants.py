"""Mutants of the driver, made from its own source: one lock dropped, one irqsave made plain, two statements
swapped, an atomic operation made a load and a store. Each is a subclass with one method that differs.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from vtdkit.iommu.intel.driver import IntelIommu


@dataclass(frozen=True)
class Mutant:
    """`name` says function, operator and which occurrence: `domain_exit/unlock/0`."""

    name: str
    driver: type[IntelIommu]


def mutants(base: type[IntelIommu]) -> Iterator[Mutant]:
    """Every mutant of the methods that a version of the driver has, in a fixed order."""
    for method in sorted(dir(base)):
        function = inspect.getattr_static(base, method)
        if inspect.iscoroutinefunction(function) and function.__module__.startswith("vtdkit."):
            yield from _of_method(base, method)


def mutant(base: type[IntelIommu], name: str) -> Mutant:
    """One mutant by name. LookupError if there is none."""
    for each in _of_method(base, name.split("/")[0]):
        if each.name == name:
            return each
    raise LookupError(f"there is no mutant {name}; the source may have changed")


def _of_method(base: type[IntelIommu], method: str) -> Iterator[Mutant]:
    function = inspect.getattr_static(base, method)
    source = textwrap.dedent(inspect.getsource(function))
    if "super()" in source:
        return
    for operator in (Unlock, Plain, LoadStore, Late, Early):
        for nth in range(99):
            tree = ast.parse(source)
            edit = operator(nth)
            tree = ast.fix_missing_locations(edit.visit(tree))
            if not edit.done:
                break
            name = f"{method}/{operator.__name__.lower()}/{nth}"
            yield Mutant(name, _class_with(base, function.__module__, method, tree, name))


def _class_with(
    base: type[IntelIommu], module: str, method: str, tree: ast.AST, name: str
) -> type[IntelIommu]:
    scope = dict(vars(sys.modules[module]))
    code = compile(tree, f"<mutant {name}>", "exec")
    exec(code, scope)  # our own source, one node changed
    return type("Mutant", (base,), {method: scope[method], "title": name})


class Edit(ast.NodeTransformer):
    """Changes the nth place that it finds fit."""

    def __init__(self, nth: int) -> None:
        self.nth, self.found, self.done = nth, 0, False

    def hit(self) -> bool:
        """Is this the place?"""
        self.found += 1
        if self.found - 1 == self.nth:
            self.done = True
            return True
        return False


class Unlock(Edit):
    """The block of a lock without the lock."""

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.body if "lock" in ast.unparse(node.items[0].context_expr) and self.hit() else node


class Plain(Edit):
    """`lock.irqsave()` becomes `lock`."""

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        self.generic_visit(node)
        manager = node.items[0].context_expr
        called = manager.func if isinstance(manager, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr == "irqsave" and self.hit():
            node.items[0].context_expr = called.value
        return node


class LoadStore(Edit):
    """`found = await x.cmpxchg(old, new)` becomes a load, and a store if it is `old`."""

    def visit_Assign(self, node: ast.Assign) -> ast.AST | list[ast.stmt]:
        text = ast.unparse(node.value)
        if ".cmpxchg(" in text and self.hit():
            call = node.value.value  # type: ignore[attr-defined]
            thing, target = ast.unparse(call.func.value), ast.unparse(node.targets[0])
            old, new = (ast.unparse(argument) for argument in call.args[-2:])
            where = ", ".join(ast.unparse(argument) for argument in call.args[:-2])
            comma = f"{where}, " if where else ""
            text = (
                f"{target} = await {thing}.load({where})\nif {target} == {old}: await "
                f"{thing}.store({comma}{new})"
            )
            return ast.parse(text).body
        return node


class _Swap(Edit):
    """Two neighbouring statements that both await something change places."""

    wanted = ""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                self._swap(block)
        return node

    def _swap(self, block: list[ast.stmt]) -> None:
        for i in range(len(block) - 1):
            first, second = ast.unparse(block[i]), ast.unparse(block[i + 1])
            if self.fits(first, second) and self.hit():
                block[i], block[i + 1] = block[i + 1], block[i]
                return

    def fits(self, first: str, second: str) -> bool:
        """Are these two worth swapping?"""
        raise NotImplementedError


class Late(_Swap):
    """Something is published before it is complete: an assignment to a field comes after the lock or
    the call behind it.
    """

    def fits(self, first: str, second: str) -> bool:
        target = first.split(" = ")[0]
        return (
            " = " in first
            and "." in target
            and "(" not in target
            and ("async with" in second or second.startswith("await"))
        )


class Early(_Swap):
    """Freed, then flushed: a flush or clear comes after the free behind it."""

    def fits(self, first: str, second: str) -> bool:
        return ("flush" in first or "clear" in first or "unlink" in first) and (
            "free" in second or "put_pages" in second
        )
