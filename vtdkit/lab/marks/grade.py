"""One student's notebook, judged in this process, which does nothing else. `collect` starts it:

    python -m vtdkit.lab.marks.grade FILE SEED MEMORY SECONDS [DONE …]

Prints lines of JSON: first the lesson, the seed and the exercises, then one line an exercise, as soon as that
is judged; those named DONE are left out. One that takes more than SECONDS ends the program, also from inside
a call that never comes back to Python. Whatever the notebook prints goes nowhere.

An exercise is found by the call `lesson.NAME.check(...)`. What is run of a notebook: its imports, then for
each exercise the cells between `show` and `check`, without the check itself, and what was to be checked. Only
where a name is missing are the cells before run as well.
"""

from __future__ import annotations

import ast
import ctypes
import faulthandler
import json
import linecache
import os
import re
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from vtdkit.lab.classroom import shipped
from vtdkit.lab.exercises import student
from vtdkit.lab.exercises.exercise import Exercise
from vtdkit.vtd.plain import echo

MOST_BYTES = 20 << 20
MOST_SAID = 10_000  # characters
MOST_WRITTEN = 1 << 20  # bytes of a file, the answers to `collect` as well
LESSON = re.compile(r"^from lessons import (lesson\d\d) as lesson$", re.M)
SEED = re.compile(r"^lesson\.seed\((\d{1,9})\)", re.M)
#: what no exercise needs, by the names of Python's audit events
REFUSED = (
    *(
        "socket.",
        "subprocess.",
        "os.system",
        "os.exec",
        "os.fork",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
    ),
    *("os.kill", "ctypes.dl"),
)
CHANGES = (
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"),
    *("os.chmod", "os.chown", "os.utime", "sqlite3.connect"),
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_CREAT


def content(path: Path) -> bytes:
    """The bytes of a notebook. Raises OSError; ValueError for what is no file, or too large."""
    if path.exists() and not path.is_file():
        raise ValueError("not a file")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES >> 20} MiB (all outputs cleared, it is small)")
    return path.read_bytes()


def cells_of(path: Path) -> list[str]:
    """The code of a notebook, solutions left out. Raises ValueError with what is wrong with it."""
    text = content(path).decode("utf-8", "replace")
    try:
        return [
            "".join(each["source"])
            for each in json.loads(text)["cells"]
            if each["cell_type"] == "code" and "solution" not in each["metadata"].get("tags", ())
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a notebook ({type(error).__name__})") from None


def parsed(text: str) -> ast.Module:
    """A cell as a syntax tree, without lines that are no Python. Raises what is wrong with it."""
    return ast.parse(re.sub(r"^\s*[%!?].*$", "pass", text, flags=re.M))


class Run:
    """A student's names, while cells of one notebook are run. Guards: one process, one thread."""

    def __init__(self, cells: list[str]) -> None:
        self.texts = cells
        self.trees = [ast.Module([], []) for _ in cells]  # empty for a cell that cannot be read
        self.space: dict[str, Any] = {"__name__": "__main__"}
        for at, text in enumerate(cells):
            linecache.cache[f"<cell {at}>"] = len(text), None, text.splitlines(keepends=True), f"<cell {at}>"
            with suppress(Exception):  # who needs the name will miss it
                self.trees[at] = parsed(text)
                imports = (ast.Import, ast.ImportFrom)
                self.cell(at, [each for each in self.trees[at].body if isinstance(each, imports)])

    def cell(self, at: int, body: list[ast.stmt]) -> None:
        """Run some of a cell's statements."""
        exec(compile(ast.Module(body, []), f"<cell {at}>", "exec"), self.space)

    def call(self, name: str, method: str) -> tuple[int, Any]:
        """The last cell with `lesson.NAME.METHOD(...)`, also of a seeded copy, and the call; else -1."""
        form = re.compile(rf"lesson\.{name}(\.seeded\(.*\))?\.{method}$")
        for at in reversed(range(len(self.trees))):
            for node in ast.walk(self.trees[at]):
                if isinstance(node, ast.Call) and form.match(ast.unparse(node.func)):
                    return at, node
        return -1, None

    def answer(self, name: str, dog: student.Watchdog) -> Any:
        """What was to be checked. Raises `UnansweredError`, and what the cells raise."""
        (shown, _), (at, check) = self.call(name, "show"), self.call(name, "check")
        if at < 0 or not check.args:
            raise student.UnansweredError("no cell checks it")
        first = shown + 1 if 0 <= shown < at else at
        try:
            return self._answer(first, at, check)
        except NameError:  # it needs what the lesson did before, each cell with its own time
            for earlier in range(first):
                dog.pet()
                with suppress(Exception):
                    self.cell(earlier, self.trees[earlier].body)
        return self._answer(first, at, check)

    def _answer(self, first: int, at: int, check: ast.Call) -> Any:
        for cell in range(first, at + 1):
            try:
                parsed(self.texts[cell])
            except (SyntaxError, ValueError) as error:
                line = f"line {error.lineno} of " if isinstance(error, SyntaxError) else ""
                said = error.msg if isinstance(error, SyntaxError) else error
                raise student.WrongError(f"{line}the cell with the answer is not Python: {said}") from None
            self.cell(cell, [each for each in self.trees[cell].body if check not in ast.walk(each)])
        return eval(compile(ast.Expression(check.args[0]), f"<cell {at}>", "eval"), self.space)


def told(error: Exception) -> str:
    """What went wrong in a student's cells, and in which of their lines."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    what = f"{type(error).__name__}: {error}".removesuffix(": ")
    for file, line in reversed(frames):
        if file.startswith("<cell "):
            return f"line {line} of a cell, `{echo(linecache.getline(file, line).strip())}`, raises {what}"
    return what


def judge(run: Run, exercise: Exercise, name: str) -> tuple[str, str]:
    """`right`, `wrong`, `missing` or `timed out`, and what was said."""

    def answer(dog: student.Watchdog) -> Any:
        try:
            return run.answer(name, dog)
        except (student.WrongError, NotImplementedError, RecursionError):
            raise
        except Exception as error:
            raise student.WrongError(told(error)) from None

    try:
        given = student.attempt(answer, run.answer)
        student.answered(given)
        exercise.judged(given)
    except student.WrongError as wrong:
        return wrong.result, str(wrong)
    return "right", ""


def fence(memory: int) -> None:
    """From now on: so many bytes, no connection, no program, no writing but in this folder."""
    here = os.path.realpath(".") + os.sep
    with suppress(ImportError):  # Windows has none
        import resource as has

        for limit, most in ((has.RLIMIT_AS, memory), (has.RLIMIT_FSIZE, MOST_WRITTEN)):
            with suppress(ValueError, OSError):  # macOS limits no memory; or there is a lower limit already
                has.setrlimit(limit, (most, most))
    with suppress(ImportError):  # multiprocessing calls it past all audit
        import _posixsubprocess

        _posixsubprocess.fork_exec = None  # type: ignore[assignment]

    def elsewhere(place: Any) -> bool:
        path = os.path.realpath(os.fsdecode(place))
        return not (path + os.sep).startswith(here) and path != os.devnull

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":  # also a folder, by whose number its files could be named
            paths = args[:1] if (args[2] or 0) & WRITES or os.path.isdir(args[0]) else ()
        else:
            paths = args if event in CHANGES else ()
        named = (each for each in paths if isinstance(each, str | bytes | os.PathLike))
        if event.startswith(REFUSED) or any(map(elsewhere, named)):
            raise PermissionError(f"an exercise may not do this ({event})")

    ctypes.pythonapi.PyThreadState_SetAsyncExc  # noqa: B018  # what the watchdog calls is looked up before
    sys.addaudithook(audit)


def main(arguments: list[str]) -> None:
    """Judge one file."""
    file, seed, memory, seconds, *done = arguments
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    try:
        cells = cells_of(Path(file))
        named = LESSON.search("\n".join(cells))
        if named is None:
            raise ValueError("no cell says which lesson it is (from lessons import lesson07 as lesson)")
        sys.path.insert(0, str(shipped("notebooks")))
        exec(named[0], space := dict[str, Any]())
    except (OSError, ValueError, ImportError) as error:
        print(json.dumps({"broken": str(error)}), file=out)
        return
    number = int(seed or (SEED.findall("\n".join(cells)) or [0])[0])
    # copies, so that what a cell does to the lesson's own changes nothing
    ours = {
        name: each.seeded(number)
        for name, each in vars(space["lesson"]).items()
        if isinstance(each, Exercise)
    }
    print(json.dumps({"lesson": named[1], "seed": number, "exercises": list(ours)}), file=out)
    fence(int(memory))
    for name in [name for name in ours if name not in done]:
        faulthandler.dump_traceback_later(int(seconds), exit=True)
        result, message = judge(Run(cells), ours[name], name)  # what one hoards is not in the other's way
        print(json.dumps({"exercise": name, "result": result, "message": message[:MOST_SAID]}), file=out)
    os._exit(0)  # whatever threads are left


if __name__ == "__main__":
    main(sys.argv[1:])
