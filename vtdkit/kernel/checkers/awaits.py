"""A forgotten `await`, and a `sleep` of another world, found in the source of a thread before it runs.

A primitive takes effect when it is awaited: `lock.acquire()` alone makes something to await and throws it
away. Python warns of that for coroutines only, and late. So whatever is started as a thread or a handler is
read once, and with it the async functions that it calls by name. Only calls whose result nobody keeps count
(a statement, a condition), by names that no list, set, dict or text has.

The kit's own code is not read here: its tests do that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    import ast

NAMES = frozenset(
    [
        "acquire",
        "release",
        "trylock",
        "read_lock",
        "read_unlock",
        "synchronize",
        "wait",
        "wait_event",
        "wake_up",
        "complete",
        "complete_all",
        "write_begin",
        "write_end",
        "read_begin",
        "read_retry",
        "load",
        "store",
        "load32",
        "store32",
        "cmpxchg",
        "cmpxchg_local",
        "xchg",
        "modify",
        "add_return",
        "quiet",
        "relax_while",
        "relax_until_written",
        "copy_in",
        "test_and_set_bit",
        "test_and_clear_bit",
        "read_once",
        "write_once",
        "add_tail",
        "del_",
        "put",
        "reuse",
        "kmalloc",
        "kfree",
        "alloc_page",
        "alloc_pages",
        "free_page",
        "local_irq_restore",
        "local_bh_enable",
        "preempt_enable",
        "work",
    ]
)
_read: WeakSet[CodeType] = WeakSet()


def check_awaits(coro: Any) -> None:
    """Read what a coroutine is about to run. Raises TypeError for the first `await` that is missing, and
    for `asyncio.sleep` and `time.sleep`.
    """
    if (frame := getattr(coro, "cr_frame", None)) is not None:
        _check(frame.f_code, frame.f_globals)


def _check(code: CodeType, scope: dict[str, Any]) -> None:
    if code in _read or "/vtdkit/" in code.co_filename.replace("\\", "/"):
        return
    import ast
    import inspect
    from textwrap import dedent

    from vtdkit.kernel.record.sites import Site, short_path

    _read.add(code)
    try:
        tree = ast.parse(dedent(inspect.getsource(code)))
    except (OSError, SyntaxError):  # nobody knows the source: typed at a prompt, or made by a program
        return
    used = {node.id: scope.get(node.id) for node in ast.walk(tree) if isinstance(node, ast.Name)}
    helpers = {name: each for name, each in used.items() if inspect.iscoroutinefunction(each)}
    for call, wrong in _wrong(tree, used, helpers):
        _read.discard(code)
        place = Site(code.co_name, short_path(code.co_filename), code.co_firstlineno + call.lineno - 1)
        raise TypeError(wrong.format(ast.unparse(call)[:80], place))
    for helper in helpers.values():
        _check(helper.__code__, helper.__globals__)


def _wrong(tree: ast.AST, used: dict[str, Any], helpers: dict[str, Any]) -> Iterator[tuple[ast.Call, str]]:
    """The calls that do not do what they seem to, each with what is said of it."""
    import ast

    for call in _unkept(tree):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in (NAMES if isinstance(call.func, ast.Attribute) else helpers):
            yield call, "{0} without await does nothing, at {1}; write `await {0}`"
    sleeps = [vars(sys.modules[name])["sleep"] for name in ("time", "asyncio") if name in sys.modules]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            module, func = used.get(getattr(getattr(node.func, "value", None), "id", "")), node.func
            called = used.get(getattr(func, "id", ""), getattr(module, getattr(func, "attr", ""), None))
            if any(called is sleep for sleep in sleeps):
                yield node, "{0} knows nothing of a machine's time, at {1}; write `await machine.work(ns)`"


def _unkept(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls whose result nobody keeps: statements by themselves, and conditions."""
    import ast

    for node in ast.walk(tree):
        # what an Expr, an If or While or Assert, a `not` is about
        about = getattr(node, "operand", getattr(node, "test", getattr(node, "value", None)))
        if isinstance(about, ast.Call) and isinstance(
            node, ast.Expr | ast.If | ast.While | ast.Assert | ast.UnaryOp
        ):
            yield about
