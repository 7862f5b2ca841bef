"""Programs with one thing wrong: what a reference solution becomes when it is changed in one place.

`mutants(function)` yields (what was changed, the changed function). A change is a statement dropped or done
twice, two neighbours swapped, a lock dropped, weakened, widened or narrowed, a test dropped or turned round,
a return value or a number changed; and what gives something back dropped together with the names under which
a thing could be recognised.
"""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import linecache
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

GIVES_BACK = ("free", "put", "release")
_numbers = itertools.count()

Change = tuple[str, Callable[[ast.AST], None]]


def mutants(function: Any) -> Iterator[tuple[str, Any]]:
    """Every changed version of a function, with a line that says what was changed."""
    text = textwrap.dedent(inspect.getsource(function))
    tree = ast.parse(text)
    seen = {ast.unparse(tree)}
    for what, mutant in _changed(tree):
        ast.fix_missing_locations(mutant)
        source = ast.unparse(mutant)
        if source not in seen:
            seen.add(source)
            yield what, compiled(source, function)


def compiled(source: str, function: Any) -> Any:
    """A function from its text, in the module of another one; its source can be had."""
    name = f"<mutant {next(_numbers)}>"
    space = dict(function.__globals__)
    exec(compile(source, name, "exec"), space)
    linecache.cache[name] = len(source), None, [f"{line}\n" for line in source.splitlines()], name
    return space[function.__name__]


def _changed(tree: ast.Module) -> Iterator[tuple[str, ast.Module]]:
    for make in (_statements, _locks, _tests, _values, _names):
        for what, path, change in make(tree):
            mutant = copy.deepcopy(tree)
            node: Any = mutant
            for step in path:
                node = node[step] if isinstance(step, int) else getattr(node, step)
            change(node)
            yield what, mutant


Path = tuple[Any, ...]
Made = Iterator[tuple[str, Path, Callable[[Any], None]]]


def _walk(node: Any, path: Path = ()) -> Iterator[tuple[Any, Path]]:
    if isinstance(node, ast.AST):
        yield node, path
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns", "decorator_list", "args") or isinstance(node, ast.Call):
                yield from _walk(value, (*path, name))
    elif isinstance(node, list):
        for number, each in enumerate(node):
            yield from _walk(each, (*path, number))


def _bodies(tree: ast.Module) -> Iterator[tuple[list[Any], Path]]:
    """Each list of statements inside the function, without its docstring's place being touched."""
    for node, path in _walk(tree):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list) and body and not isinstance(node, ast.Module):
                yield body, (*path, name)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _line(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0]


def _statements(tree: ast.Module) -> Made:
    for body, path in _bodies(tree):
        for number, statement in enumerate(body):
            if _is_docstring(statement):
                continue
            line = _line(statement)

            def drop(body: Any, number: int = number) -> None:
                body[number] = ast.Pass()

            def twice(body: Any, number: int = number) -> None:
                body.insert(number, copy.deepcopy(body[number]))

            def swap(body: Any, number: int = number) -> None:
                body[number], body[number + 1] = body[number + 1], body[number]

            yield f"dropped: {line}", path, drop
            if isinstance(statement, ast.Expr):
                yield f"done twice: {line}", path, twice
            if number + 1 < len(body):
                yield f"swapped: {line} | {_line(body[number + 1])}", path, swap


def _locks(tree: ast.Module) -> Made:
    for body, path in _bodies(tree):
        for number, statement in enumerate(body):
            if not isinstance(statement, ast.AsyncWith):
                continue
            line = _line(statement)

            def unwrap(body: Any, number: int = number) -> None:
                body[number : number + 1] = body[number].body

            def later(body: Any, number: int = number) -> None:
                body[number].body.append(body.pop(number + 1))

            def earlier(body: Any, number: int = number) -> None:
                body[number].body.insert(0, body.pop(number - 1))

            def first_out(body: Any, number: int = number) -> None:
                body.insert(number, body[number].body.pop(0))

            def last_out(body: Any, number: int = number) -> None:
                body.insert(number + 1, body[number].body.pop())

            yield f"lock dropped: {line}", path, unwrap
            if number + 1 < len(body):
                yield f"lock widened over: {_line(body[number + 1])}", path, later
            if number and not _is_docstring(body[number - 1]):
                yield f"lock widened over: {_line(body[number - 1])}", path, earlier
            if len(statement.body) > 1:
                yield f"lock narrowed, out: {_line(statement.body[0])}", path, first_out
                yield f"lock narrowed, out: {_line(statement.body[-1])}", path, last_out
    for node, path in _walk(tree):
        if isinstance(node, ast.withitem):
            yield from _variants(node, path)


def _variants(node: ast.withitem, path: Path) -> Made:
    taken = node.context_expr
    if isinstance(taken, ast.Call) and isinstance(taken.func, ast.Attribute) and taken.func.attr == "irqsave":
        for variant in ("", "bh"):

            def weaken(item: Any, variant: str = variant) -> None:
                lock = item.context_expr.func.value
                item.context_expr = _call(lock, variant) if variant else lock

            yield f"lock weakened to {variant or 'plain'}: {_line(taken)}", path, weaken
    elif isinstance(taken, ast.Attribute) and taken.attr != "mutex":

        def harden(item: Any) -> None:
            item.context_expr = _call(item.context_expr, "irqsave")

        yield f"lock hardened to irqsave: {_line(taken)}", path, harden


def _call(owner: ast.expr, method: str) -> ast.Call:
    return ast.Call(ast.Attribute(owner, method, ast.Load()), [], [])


def _tests(tree: ast.Module) -> Made:
    for node, path in _walk(tree):
        if isinstance(node, ast.If | ast.IfExp):
            for value in (True, False):

                def fix(node: Any, value: bool = value) -> None:
                    node.test = ast.Constant(value)

                yield f"test is always {value}: {_line(node.test)}", path, fix
        if isinstance(node, ast.BoolOp):
            for number in range(len(node.values)):

                def without(node: Any, number: int = number) -> None:
                    del node.values[number]
                    if len(node.values) == 1:
                        node.values.append(node.values[0])

                yield f"without {_line(node.values[number])} in: {_line(node)}", path, without
        if isinstance(node, ast.Compare):

            def turn(node: Any) -> None:
                pairs: dict[type, type] = {
                    ast.Gt: ast.GtE,
                    ast.GtE: ast.Gt,
                    ast.Lt: ast.LtE,
                    ast.LtE: ast.Lt,
                    ast.Eq: ast.NotEq,
                    ast.NotEq: ast.Eq,
                    ast.Is: ast.IsNot,
                    ast.IsNot: ast.Is,
                    ast.In: ast.NotIn,
                    ast.NotIn: ast.In,
                }
                node.ops[0] = pairs[type(node.ops[0])]()

            yield f"another comparison: {_line(node)}", path, turn


def _values(tree: ast.Module) -> Made:
    for node, path in _walk(tree):
        if isinstance(node, ast.Return):
            for value in (None, 0, 1, -1):

                def give(node: Any, value: Any = value) -> None:
                    node.value = ast.Constant(value)

                if ast.unparse(node.value or ast.Constant(None)) != repr(value):
                    yield f"returns {value}: {_line(node)}", path, give
        if isinstance(node, ast.Constant) and type(node.value) is int:
            for step in (1, -1):

                def shift(node: Any, step: int = step) -> None:
                    node.value += step

                yield f"{node.value} becomes {node.value + step}", path, shift
        if isinstance(node, ast.Constant) and type(node.value) is bool:

            def other(node: Any) -> None:
                node.value = not node.value

            yield f"{node.value} becomes {not node.value}", path, other


def _names(tree: ast.Module) -> Made:
    """What gives something back is dropped, and nothing has the name it had."""
    for body, path in _bodies(tree):
        for number, statement in enumerate(body):
            if not any(word in _line(statement) for word in GIVES_BACK) or _is_docstring(statement):
                continue

            def leak(body: Any, number: int = number) -> None:
                body[number] = ast.Pass()

            yield f"leaks: {_line(statement)}", path, leak
