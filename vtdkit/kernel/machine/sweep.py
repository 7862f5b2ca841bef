"""The same experiment for many parameters: here, on all cores, or on a cluster; and again
from where it stopped.

`sweep(function, parameters)` calls `function(parameter)` for each and returns the results in the order of the
parameters. With an `executor` (any `concurrent.futures.Executor`: a ProcessPoolExecutor on a laptop,
`Client.get_executor()` of dask.distributed where one machine is not enough) the calls are spread over it; the
function must then be importable there. With `resume`, every finished point is kept in a file of JSON lines
and not run again: a sweep that was killed loses the points in flight and no other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, as_completed
from contextlib import closing
from pathlib import Path
from typing import IO, Any, TypeVar

P = TypeVar("P")
R = TypeVar("R")
LIMIT = 1 << 28  #: bytes of a file of finished points


class SweepError(ValueError):
    """A file of finished points that cannot be used; the message says which line and what to do."""


def sweep(
    function: Callable[[P], R],
    parameters: Iterable[P],
    executor: Executor | None = None,
    *,
    resume: str | Path | None = None,
    progress: bool = False,
) -> list[R]:
    """The results of `function` for all `parameters`, in their order.

    `resume` names a file for finished points; parameters and results must then be what JSON can say, and come
    back as JSON has them (a tuple as a list). `progress` shows a bar on stderr (needs tqdm). An error in a
    point is raised once the points that were running have been kept; those not begun are dropped.
    """
    points = list(parameters)
    store = (
        None if resume is None else Finished(Path(resume), f"{function.__module__}:{function.__qualname__}")
    )
    results: dict[int, R] = {} if store is None else store.known(points)
    left = [index for index in range(len(points)) if index not in results]
    with (
        closing(_ran(function, points, left, executor)) as ran,
        _bar(progress, len(points), len(results)) as bar,
    ):
        for index, result in ran:
            results[index] = result if store is None else store.keep(points[index], result)
            bar.update()
    return [results[index] for index in range(len(points))]


def _ran(
    function: Callable[[P], R],
    points: list[P],
    left: list[int],
    executor: Executor | None,
) -> Generator[tuple[int, R], None, None]:
    """(index, result) of each point, as they are finished."""
    if executor is None:
        for index in left:
            yield index, function(points[index])
        return
    futures = {executor.submit(function, points[index]): index for index in left}
    failed: BaseException | None = None
    try:
        for future in as_completed(futures):
            if future.cancelled():
                continue
            error = future.exception()
            if error is None:
                yield futures[future], future.result()
            elif failed is None:
                failed = error
                _cancel(futures)
    finally:
        _cancel(futures)
    if failed is not None:
        raise failed


def _cancel(futures: Iterable[Any]) -> None:
    for future in futures:
        future.cancel()


# -- finished points ----------------------------------------------------------


class Finished:
    """A file of finished points: a line that says whose they are, then one line of JSON for each."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.header = {"sweep": name, "version": 1}
        self._results: dict[str, Any] = {}
        if path.exists():
            self._read()
        if not path.exists() or not path.stat().st_size:
            self._append(self.header)

    def known(self, points: list[Any]) -> dict[int, Any]:
        """The results there are already, by the points' index."""
        keys = [_key(point) for point in points]
        return {index: self._results[key] for index, key in enumerate(keys) if key in self._results}

    def keep(self, point: Any, result: Any) -> Any:
        """Write one result down at once; returns it as the file has it."""
        try:
            line = json.dumps({"point": point, "result": result})
        except (TypeError, ValueError) as error:
            text = (
                f"the result for {point!r:.60} cannot be kept in {self.path}: {error}. Return numbers, "
                "texts, lists, dicts"
            )
            raise SweepError(text) from None
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")
        return json.loads(line)["result"]

    def _append(self, entry: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(entry) + "\n")

    def _read(self) -> None:
        if self.path.stat().st_size > LIMIT:
            raise SweepError(f"{self.path} has more than {LIMIT} bytes; it is not a file of finished points")
        with self.path.open("rb+") as file:
            whole = self._lines(file)
            file.truncate(whole)  # a line cut short when the sweep was killed: that point is run again

    def _lines(self, file: IO[bytes]) -> int:
        """Take in all whole lines; how many bytes they are."""
        whole = 0
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                if number == 1:
                    self._check_header(entry)
                else:
                    self._results[_key(entry["point"])] = entry["result"]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                if isinstance(error, SweepError):
                    raise
                raise SweepError(
                    f"{self.path}, line {number}: not a finished point ({error}); mend or delete the file"
                ) from None
            whole += len(line)
        return whole

    def _check_header(self, entry: Any) -> None:
        if entry != self.header:
            raise SweepError(
                f"{self.path} holds {entry!r:.80}, not points of {self.header['sweep']}; use another file"
            )


def _key(point: Any) -> str:
    try:
        return json.dumps(point, sort_keys=True)
    except (TypeError, ValueError) as error:
        text = (
            f"the parameter {point!r:.60} cannot be kept in a file: {error}; use numbers, texts, lists, dicts"
        )
        raise SweepError(text) from None


# -- progress -----------------------------------------------------------------


class _NoBar:
    """What a bar does when nobody wants one."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self) -> None:
        """One more point."""


def _bar(wanted: bool, total: int, done: int) -> Any:
    if not wanted:
        return _NoBar()
    try:
        from tqdm import tqdm
    except ImportError:
        raise ImportError("progress=True needs tqdm: pip install tqdm, or leave it off") from None
    return tqdm(total=total, initial=done, file=sys.stderr, unit="point")
