"""Answers by value: what a person writes, read as it was meant, and compared with what is right.

- a list, a tuple or a set is the same where the order does not matter; a list and a tuple where it does
- case, spaces, hyphens and quotes in words do not matter, and a slip in spelling is forgiven where the
  possible words are known
- a number may be written as text (`"6"`, `"0x1f"`, `"3,000"`)
- yes and no are `True` and `False` (or the words). The numbers 1 and 0 are refused for them, and they for
  numbers, on purpose: `(4, 1)` may mean "four and one", and whoever wrote it should know which was asked for
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

TRUTH = {"true": True, "yes": True, "y": True, "false": False, "no": False, "n": False}
CLOSE = 0.8  # how alike a misspelt word must be, 1 being the same

Form = Callable[[Any], str]


def same_word(text: str) -> str:
    """A word or sentence without what does not matter in it."""
    return " ".join(re.sub(r"[\W_]+", " ", text.casefold()).split())


def number(given: Any) -> Any:
    """The number that a text stands for; else what was given. A unit and separators may be there."""
    found = re.fullmatch(
        r"\s*(?:~|≈|about|ca\.?)?\s*([-+]?)(0[xob][0-9a-f_]+|[\d_,\s]*\.?\d+(?:e[-+]?\d+)?)\.?"
        r"\s*(?:[a-zµ\u03bc%]+/?[a-z]*)?\s*[.?!]?\s*",
        given.casefold() if isinstance(given, str) else "",
    )
    digits = re.sub(r"[_,\s]", "", found[1] + found[2]) if found else ""
    with suppress(ValueError):
        return int(digits, 0)
    with suppress(ValueError):  # 007 is one, 0b9 is none
        return float(digits)
    return given


def read(given: Any, right: Any, words: Sequence[str] = ()) -> Any:
    """What was answered, in the form of what is right, as far as that can be told."""
    if hasattr(given, "tolist"):
        given = given.tolist()  # numpy's numbers and arrays
    match right:
        case bool() if isinstance(given, str):
            return TRUTH.get(same_word(given), given)
        case Integral() | Real() if not isinstance(right, bool):
            return number(given)
        case str() if isinstance(given, str):
            return _word(given, [right], words)
        case Set():
            return _set(given, right, words)
        case list() | tuple() if isinstance(given, list | tuple) and len(given) == len(right):
            return type(right)(read(mine, theirs, words) for mine, theirs in zip(given, right, strict=True))
    return given


def _word(given: str, right: Sequence[str], words: Sequence[str]) -> str:
    known = {same_word(word): word for word in (*right, *words)}
    mine = same_word(given)
    if mine in known:
        return known[mine]
    # a slip is forgiven only where it is known what else could have been meant
    close = get_close_matches(mine, known, 2, CLOSE) if words else []
    figures = re.findall(r"\d+", mine)
    return next((known[word] for word in close if re.findall(r"\d+", word) == figures), given)


def _set(given: Any, right: Set[Any], words: Sequence[str]) -> Any:
    if isinstance(given, str | Integral) and not isinstance(given, bool):
        given = [given]  # one thing alone
    if not isinstance(given, Set | list | tuple):
        return given
    known = sorted(each for each in right if isinstance(each, str))
    with suppress(TypeError):  # a list cannot be in a set
        if known:
            return {_word(each, known, words) if isinstance(each, str) else each for each in given}
        return {number(each) for each in given}
    return given


def alike(given: Any, right: Any) -> bool:
    """Whether two values are of one kind: both yes or no, numbers, words, or made of such."""
    if isinstance(right, bool) or isinstance(given, bool):
        return isinstance(right, bool) and isinstance(given, bool)
    match right:
        case Real():
            return isinstance(given, Real)
        case Set() | list() | tuple():
            kind: Any = Set if isinstance(right, Set) else list | tuple
            return isinstance(given, kind) and (
                not right or all(any(alike(mine, theirs) for theirs in right) for mine in given)
            )
    return isinstance(given, type(right))


def same(given: Any, right: Any) -> bool:
    """Whether two values are the same answer (both in one form, see `read`)."""
    if not alike(given, right):
        return False
    if isinstance(right, float):
        return bool(abs(given - right) <= 1e-6 * max(1.0, abs(right)))
    if isinstance(right, list | tuple):
        return len(given) == len(right) and all(map(same, given, right))
    return bool(given == right)


def difference(given: Any, right: Any, form: Form = repr) -> str:
    """What is wrong with an answer, without giving the right one away where the kind or the size of
    it already says something.
    """
    match right:
        case bool():
            wanted = "True or False"
        case int() | float():
            wanted = "a number"
            if alike(given, right):
                return f"{form(given)} is too {'large' if given > right else 'small'}"
        case Set():
            wanted = "a set, such as {'this', 'that'}"
            if isinstance(given, Set):
                parts = [(len(right - given), "missing"), (len(given - right), "too many")]
                return ", ".join(f"{count} {what}" for count, what in parts if count)
        case list() | tuple():
            pair = len(right) == 2 and isinstance(right, tuple)
            wanted = "a pair" if pair else f"a {type(right).__name__} of {len(right)}"
            if isinstance(given, Set):
                return f"the order matters here: the answer is {wanted}, and a set has no order"
            if isinstance(given, list | tuple):
                return _of_lists(given, right, form)
        case _:
            wanted = kind(right)
    if type(given) is type(right):
        return f"it is not {form(given)}"
    return f"the answer is {wanted}; this is {kind(given)}"


def _of_lists(given: Sequence[Any], right: Sequence[Any], form: Form) -> str:
    if len(given) != len(right):
        return f"{len(given)} items; there should be {len(right)}"
    pairs = enumerate(zip(given, right, strict=True))
    place, (mine, theirs) = next(each for each in pairs if not same(*each[1]))
    if not alike(mine, theirs) or isinstance(theirs, list | tuple | Set):
        return f"item {place}: {difference(mine, theirs, form)}"
    return f"item {place} is not {form(mine)}"


def kind(value: Any) -> str:
    """A value's type, for a sentence."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
