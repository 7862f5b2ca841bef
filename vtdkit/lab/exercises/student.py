"""A student's function as a piece of text: is it written yet, does it await what must be awaited, where did
it fail, does it ever end. What is said of these costs no hint, since none of it is about the solution.
"""

from __future__ import annotations

import ast
import builtins
import ctypes
import inspect
import linecache
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from time import monotonic, process_time
from types import CodeType, TracebackType
from typing import Any

PATIENCE = 5.0  # seconds of computing that a student's code may take in one scene
ASLEEP = 12  # so many times as long may go by, however little is computed

NOT_WRITTEN, NO_ANSWER = "the function is not written yet", "there is no answer yet"


class TooLongError(BaseException):
    """Raised in a thread whose code has run for too long. Not an `Exception`: a student's own `except
    Exception` must not swallow it.
    """


# -- what it says


def tree_of(function: Any) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The function as a syntax tree; None where its source is not to be had."""
    try:
        text = textwrap.dedent(inspect.getsource(function))
        found = ast.parse(text).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    return found if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef) else None


def unanswered(given: Any) -> bool:
    """Is this nothing yet: `...`, None, or a function whose body only says so?

    Such a body is `pass`, `...`, a sentence that it returns, or a NotImplementedError that it raises.
    """
    if given is None or given is ...:
        return True
    tree = tree_of(given) if callable(given) else None
    if tree is None:
        return False
    body = [
        each
        for each in tree.body
        if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
    ]
    if not body:
        return True
    only = body[0]
    if len(body) > 1:
        return False
    if isinstance(only, ast.Raise) and only.exc is not None:
        return "NotImplementedError" in ast.unparse(only.exc)
    says = isinstance(only, ast.Return) and isinstance(only.value, ast.Constant)
    return isinstance(only, ast.Pass) or (says and isinstance(only.value.value, str))  # type: ignore[attr-defined]


def wrong_kind(given: Any, reference: Any) -> str | None:
    """A plain function where a coroutine is needed, or the other way round; or other parameters."""
    if not callable(given):
        return f"the answer is the function {reference.__name__}"
    wanted, got = inspect.iscoroutinefunction(reference), inspect.iscoroutinefunction(given)
    if wanted and not got:
        return f"it must be a coroutine: write `async def {reference.__name__}`, not `def`"
    if got and not wanted:
        return f"it is called like a plain function: write `def {reference.__name__}`, not `async def`"
    return _wrong_parameters(given, reference)


def _wrong_parameters(given: Any, reference: Any) -> str | None:
    names = list(inspect.signature(reference).parameters)
    try:
        inspect.signature(given).bind(*names)
    except TypeError as error:
        return f"it is called with ({', '.join(names)}): {error}"
    except ValueError:
        return None
    return None


def forgotten_await(given: Any, reference: Any, driver: type) -> str | None:
    """The first call of something that must be awaited and is not.

    Known to need it: coroutines of the driver, and whatever the reference solution awaits.
    """
    tree, ours = tree_of(given), tree_of(reference)
    if tree is None:
        return None
    needs = _awaited_by(ours) if ours is not None else set()
    awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
    for statement in ast.walk(tree):
        if isinstance(statement, ast.withitem):
            manager = statement.context_expr
            if isinstance(manager, ast.Call):
                awaited.add(id(manager))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in awaited or not isinstance(node.func, ast.Attribute):
            continue
        name, owner = node.func.attr, node.func.value
        own = (
            isinstance(owner, ast.Name)
            and owner.id == "self"
            and inspect.iscoroutinefunction(inspect.getattr_static(driver, name, None))
        )
        if (own or name in needs) and not _kept(tree, node):
            line = ast.unparse(node)
            return f"`{line}` is never awaited: without `await` in front of it, it does nothing"
    return None


def _awaited_by(tree: ast.AST) -> set[str]:
    """The names of the methods whose result a function awaits."""
    awaited = (node.value for node in ast.walk(tree) if isinstance(node, ast.Await))
    calls = (call.func for call in awaited if isinstance(call, ast.Call))
    return {called.attr for called in calls if isinstance(called, ast.Attribute)}


def _kept(tree: ast.AST, call: ast.Call) -> bool:
    """Is the coroutine kept in a name, or handed on, so that it may be awaited elsewhere?"""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node is not call and any(call is each for each in node.args):
            return not isinstance(node.func, ast.Name) or node.func.id not in vars(builtins)
        if isinstance(node, ast.Assign) and node.value is call:
            names = {each.id for each in node.targets if isinstance(each, ast.Name)}
            return any(
                isinstance(each, ast.Await) and isinstance(each.value, ast.Name) and each.value.id in names
                for each in ast.walk(tree)
            )
    return False


# -- where it failed


def _codes(function: Any) -> Iterator[CodeType]:
    """The code of a function and of what is defined inside it."""
    left = [function.__code__] if hasattr(function, "__code__") else []
    while left:
        code = left.pop()
        yield code
        left += [each for each in code.co_consts if isinstance(each, CodeType)]


def own_frame(function: Any, trace: TracebackType | None) -> TracebackType | None:
    """The last frame of the function in a traceback; None if it is not in it."""
    codes, found = set(_codes(function)), None
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            found = trace
        trace = trace.tb_next
    return found


def told(function: Any, error: BaseException) -> str:
    """An exception as its author wants to read it: the line of the function, and what is wrong there."""
    frame = own_frame(function, error.__traceback__)
    what = traceback.format_exception_only(error)[-1].strip()
    if frame is None:
        return f"with it the machine cannot be made ready, or does not end well: {what}"
    text = linecache.getline(frame.tb_frame.f_code.co_filename, frame.tb_lineno).strip()
    number = frame.tb_lineno - function.__code__.co_firstlineno + 1
    place = f"line {number} of your function" + (f", `{text}`," if text else "")
    return f"{place} raises {what}{_suggestion(function, error)}"


def _suggestion(function: Any, error: BaseException) -> str:
    """What a name that is not there may have been meant to be."""
    name = getattr(error, "name", None)
    if not isinstance(error, AttributeError | NameError) or not name:
        return ""
    if isinstance(error, AttributeError):
        if inspect.iscoroutine(error.obj) or "coroutine" in str(error):
            return ". A coroutine gives its value only to `await`"
        known = [each for each in dir(error.obj) if not each.startswith("__")]
    else:
        code = function.__code__
        known = [*code.co_varnames, *function.__globals__, *vars(builtins)]
    close = get_close_matches(name, [each for each in known if each != name], 1)
    return f". Did you mean `{close[0]}`?" if close and "Did you mean" not in str(error) else ""


def is_typo(error: BaseException) -> bool:
    """A name that is not there, rather than a thought that is wrong."""
    return isinstance(error, NameError) or (isinstance(error, AttributeError) and error.obj is not None)


# -- does it end


class Watchdog:
    """Raises `TooLongError` in the thread that made it when this program has computed for `seconds` without a
    `pet`, or has done nothing for long.

    Where no thread can be started, in a browser for instance, it watches nothing. Guards: `over` guards
    `done` between the two threads, so that nothing is raised after the end.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.me = threading.get_ident()
        self.over = threading.Lock()
        self.done = False
        self.until = self.latest = 0.0

    def pet(self) -> None:
        """Another `seconds` from now."""
        self.until = process_time() + self.seconds
        self.latest = monotonic() + ASLEEP * self.seconds

    def __enter__(self) -> Watchdog:
        self.pet()
        try:
            self._start()
        except RuntimeError:
            self.done = True
        return self

    def _start(self) -> None:
        self.timer = threading.Timer(max(self.until - process_time(), 0.01), self._look)
        self.timer.daemon = True
        self.timer.start()

    def _look(self) -> None:
        with self.over:
            if self.done:
                return
            if process_time() < self.until and monotonic() < self.latest:
                self._start()
                return
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self.me), ctypes.py_object(TooLongError)
            )

    def __exit__(self, *error: object) -> None:
        with self.over:
            started, self.done = not self.done, True
        if started:
            self.timer.cancel()


def attempt(
    work: Callable[[Watchdog], Any], function: Any, seconds: float = 0.0
) -> tuple[Any, str | None, bool]:
    """Run some of a student's code: its result; what went wrong, in words; whether that costs a hint.

    `work` is handed the watchdog, to pet it where it begins anew.
    """
    from .watched import NeverEndsError

    try:
        with Watchdog(seconds or PATIENCE) as dog:
            return work(dog), None, False
    except NotImplementedError:
        return None, NOT_WRITTEN, False
    except (TooLongError, NeverEndsError, RecursionError):
        return None, "it does not end: a loop goes round for ever (it was stopped)", False
    except Exception as error:
        return None, told(function, error), not is_typo(error)
