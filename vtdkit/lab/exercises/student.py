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
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from time import monotonic, process_time
from types import FunctionType
from typing import Any

PATIENCE = 5.0  # seconds of computing that a student's code may take in one scene
ASLEEP = 12  # so many times as long may go by, however little is computed

CAUGHT = "a driver cannot catch an oops: ask before you follow a pointer, instead of `except`"
ENDLESS = "it does not end: a loop goes round for ever (it was stopped)"
NOT_WRITTEN, NO_ANSWER = "the function is not written yet", "there is no answer yet"


class WrongError(Exception):
    """Why an answer is not right yet, in words. `result` is what a table of marks says; `costs`: whether it
    takes the next hint.
    """

    result = "wrong"
    costs = True


class SlipError(WrongError):
    """What is wrong is no hint's business."""

    costs = False


class UnansweredError(SlipError):
    """There is no answer yet."""

    result = "missing"


class StoppedError(SlipError):
    """The answer did not end."""

    result = "timed out"


class NeverEndsError(Exception):
    """A function waited for something again and again, and does not end."""


class TooLongError(BaseException):
    """Raised in a thread whose code has run for too long. Not an `Exception`: a student's own `except
    Exception` must not swallow it.
    """


# -- what it says


def tree_of(function: Any) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The function as a syntax tree; None where its source is not to be had."""
    with suppress(OSError, TypeError, SyntaxError, IndexError):
        found = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        return found if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef) else None
    return None


def with_names(given: Any, names: dict[str, Any]) -> Any:
    """A function that finds these names where it knows none of its own: code of a patch runs as it was
    copied into a notebook.
    """
    if not isinstance(given, FunctionType):
        return given
    known = names | given.__globals__
    copied = FunctionType(given.__code__, known, given.__name__, given.__defaults__, given.__closure__)
    copied.__kwdefaults__ = given.__kwdefaults__
    return copied


def answered(given: Any) -> None:
    """Raise `WrongError` for what is nothing yet: `...`, None, or a function whose body only says so.

    Such a body is `pass`, `...`, a sentence that it returns, or a NotImplementedError that it raises.
    """
    if given is None or given is ...:
        raise UnansweredError(NO_ANSWER)
    tree = tree_of(given) if callable(given) else None
    if tree is not None and all(map(_says_nothing, tree.body)):
        raise UnansweredError(NOT_WRITTEN)


def _says_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(ast.Constant()) | ast.Return(ast.Constant(str())):
            return True
        case ast.Raise(exc=ast.AST() as error):
            return "NotImplementedError" in ast.unparse(error)
    return False


def readable(given: Any, reference: Any, driver: type = object) -> None:
    """Raise `WrongError` for what cannot be tried: no function, one of another kind or with other parameters,
    one that forgets an `await`. `driver` is the version that it will be part of.
    """
    said = _another_kind(given, reference) or _forgotten_await(given, reference, driver)
    if said:
        raise SlipError(said)


def catches_nothing(given: Any) -> None:
    """Raise `WrongError` for driver code that catches exceptions: what they tell is an oops."""
    for node in ast.walk(tree_of(given) or ast.Pass()):
        match node:
            case (
                ast.ExceptHandler() | ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"))
            ):
                raise SlipError(CAUGHT)


def _another_kind(given: Any, reference: Any) -> str:
    name = reference.__name__
    if not callable(given):
        return f"the answer is the function {name}"
    wanted, got = inspect.iscoroutinefunction(reference), inspect.iscoroutinefunction(given)
    if wanted and not got:
        return f"it must be a coroutine: write `async def {name}`, not `def`"
    if got and not wanted:
        return f"it is called like a plain function: write `def {name}`, not `async def`"
    names = list(inspect.signature(reference).parameters)
    with suppress(ValueError):  # made in C: it has no signature
        try:
            inspect.signature(given).bind(*names)
        except TypeError as error:
            return f"it is called with ({', '.join(names)}): {error}"
    return ""


def _forgotten_await(given: Any, reference: Any, driver: type) -> str:
    """The first call of something that must be awaited and is not, in a sentence.

    Known to need it: coroutines of the driver, and whatever the reference solution awaits.
    """
    tree = tree_of(given) or ast.Pass()
    calls = [each for each in _awaited(tree_of(reference) or ast.Pass()) if isinstance(each, ast.Call)]
    needs = {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}
    seen_to = _seen_to(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=owner, attr=name)) if id(node) not in seen_to:
                own = isinstance(owner, ast.Name) and owner.id == "self"
                if name in needs or (
                    own and inspect.iscoroutinefunction(inspect.getattr_static(driver, name, None))
                ):
                    call = f"`{ast.unparse(node)}`"
                    return f"{call} is never awaited: without `await` in front of it, it does nothing"
    return ""


def _awaited(tree: ast.AST) -> list[ast.expr]:
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Await)]


def _seen_to(tree: ast.AST) -> set[int]:
    """Which expressions (by id) are awaited, or kept or handed on so that they may be elsewhere."""
    awaited = _awaited(tree)
    names = {each.id for each in awaited if isinstance(each, ast.Name)}
    fine = {id(each) for each in awaited}
    for node in ast.walk(tree):
        match node:
            case ast.withitem(context_expr=expression):
                fine.add(id(expression))
            case ast.Assign(targets=[ast.Name(id=name)], value=expression) if name in names:
                fine.add(id(expression))
            case ast.Call(func=called, args=args) if getattr(called, "id", "") not in vars(builtins):
                fine.update(map(id, args))
    return fine


# -- where it failed


def told(function: Any, error: BaseException) -> str:
    """An exception as its author wants to read it: the line of what they wrote, and what is wrong there."""
    code = getattr(function, "__code__", None)
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [each for each in frames if code is not None and each[0].co_filename == code.co_filename]
    what = f"{type(error).__name__}: {error}".removesuffix(": ")
    if not own:
        return f"with it the machine cannot be made ready, or does not end well: {what}"
    inner, line = own[-1]
    text = linecache.getline(inner.co_filename, line).strip()
    name = "your function" if inner is code else f"{inner.co_name}()"
    place = f"line {line - inner.co_firstlineno + 1} of {name}" + (f", `{text}`," if text else "")
    return f"{place} raises {what}{_suggestion(inner.co_varnames, function, error)}"


def _suggestion(local: tuple[str, ...], function: Any, error: BaseException) -> str:
    """What a name that is not there may have been meant to be."""
    match error:
        case NameError():
            known = [*local, *function.__globals__, *vars(builtins)]
        case AttributeError() if inspect.iscoroutine(error.obj):
            return ". A coroutine gives its value only to `await`"
        case AttributeError():
            known = [each for each in dir(error.obj) if not each.startswith("__")]
        case _:
            return ""
    close = get_close_matches(error.name or "", known, 1)
    return f". Did you mean `{close[0]}`?" if close and "Did you mean" not in str(error) else ""


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
        self.over, self.done = threading.Lock(), threading.Event()
        self.pet()

    def pet(self) -> None:
        """Another `seconds` from now."""
        self.until, self.latest = process_time() + self.seconds, monotonic() + ASLEEP * self.seconds

    def __enter__(self) -> Watchdog:
        with suppress(RuntimeError):
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def _watch(self) -> None:
        while not self.done.wait(0.1):
            if process_time() < self.until and monotonic() < self.latest:
                continue
            with self.over:
                if not self.done.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(
                        ctypes.c_ulong(self.me), ctypes.py_object(TooLongError)
                    )
            # where it met a destructor it was swallowed: once more, but not while the first is on its way
            self.until, self.latest = process_time() + 1, monotonic() + ASLEEP

    def __exit__(self, *error: object) -> None:
        with self.over:
            self.done.set()


def attempt(work: Callable[[Watchdog], Any], function: Any, when: str = "", seconds: float = 0.0) -> Any:
    """Run some of a student's code: its result. Raises `WrongError` with what went wrong, `when` in front.

    `work` is handed the watchdog, to pet it where it begins anew.
    """
    try:
        with Watchdog(seconds or PATIENCE) as dog:
            return work(dog)
    except WrongError as wrong:
        raise type(wrong)(f"{when}{wrong}") from None
    except NotImplementedError:
        raise UnansweredError(when + NOT_WRITTEN) from None
    except (TooLongError, NeverEndsError, RecursionError):
        raise StoppedError(when + ENDLESS) from None
    except Exception as error:
        # a name that is not there, rather than a thought that is wrong
        typo = isinstance(error, NameError) or (isinstance(error, AttributeError) and error.obj is not None)
        raise (SlipError if typo else WrongError)(when + told(function, error)) from None
