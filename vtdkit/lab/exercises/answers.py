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

YES, NO = ("true", "yes", "y"), ("false", "no", "n")
CLOSE = 0.8  # how alike a misspelt word must be, 1 being the same

Form = Callable[[Any], str]


def same_word(text: str) -> str:
    """A word or sentence without what does not matter in it."""
    return " ".join(re.sub(r"[\W_]+", " ", text.casefold()).split())


def number(text: str) -> int | float | None:
    """The number that a text stands for; None if it is not one. A unit and separators may be there."""
    found = re.fullmatch(
        r"\s*(?:~|≈|about|ca\.?)?\s*([-+]?)(0[xob][0-9a-f_]+|[\d_,\s]*\.?\d+(?:e[-+]?\d+)?)\.?"
        r"\s*(?:[a-zµ\u03bc%]+/?[a-z]*)?\s*[.?!]?\s*",
        text.casefold(),
    )
    if found is None:
        return None
    digits = re.sub(r"[_,\s]", "", found[1] + found[2])
    with suppress(ValueError):
        return int(digits, 0)
    with suppress(ValueError):  # 007 is one, 0b9 is none
        return float(digits)
    return None


def read(given: Any, right: Any, words: Sequence[str] = ()) -> Any:
    """What was answered, in the form of what is right, as far as that can be told."""
    if hasattr(given, "tolist"):
        given = given.tolist()  # numpy's numbers and arrays
    if isinstance(right, bool):
        if isinstance(given, str):
            word = same_word(given)
            return True if word in YES else False if word in NO else given
        return given
    if isinstance(right, Integral | Real):
        return _number(given)
    if isinstance(right, str):
        return _word(given, [right], words) if isinstance(given, str) else given
    if isinstance(right, Set):
        return _set(given, right, words)
    if isinstance(right, list | tuple) and isinstance(given, list | tuple) and len(given) == len(right):
        return type(right)(read(mine, theirs, words) for mine, theirs in zip(given, right, strict=True))
    return given


def _number(given: Any) -> Any:
    if isinstance(given, str):
        found = number(given)
        return given if found is None else found
    if isinstance(given, Integral) and not isinstance(given, bool):
        return int(given)
    return given


def _word(given: str, right: Sequence[str], words: Sequence[str]) -> str:
    known = {same_word(word): word for word in (*right, *words)}
    mine = same_word(given)
    if mine in known:
        return known[mine]
    # a slip is forgiven only where it is known what else could have been meant
    close = get_close_matches(mine, known, 2, CLOSE) if words else []
    digits = re.findall(r"\d+", mine)
    close = [word for word in close if re.findall(r"\d+", word) == digits]
    return known[close[0]] if close else given


def _set(given: Any, right: Set[Any], words: Sequence[str]) -> Any:
    if isinstance(given, str | Integral) and not isinstance(given, bool):
        given = [given]  # one thing alone
    if not isinstance(given, Set | list | tuple):
        return given
    if all(isinstance(each, str) for each in right):
        return {
            _word(each, sorted(right), words) if isinstance(each, str) else each
            for each in map(_hashable, given)
        }
    return {_number(each) for each in map(_hashable, given)}


def _hashable(value: Any) -> Any:
    value = tuple(value) if isinstance(value, list) else value
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def alike(given: Any, right: Any) -> bool:
    """Whether two values are of one kind: both yes or no, numbers, words, or made of such."""
    if isinstance(right, bool) or isinstance(given, bool):
        return isinstance(right, bool) and isinstance(given, bool)
    if isinstance(right, Real):
        return isinstance(given, Real)
    if isinstance(right, Set | list | tuple):
        kind: Any = Set if isinstance(right, Set) else list | tuple
        return isinstance(given, kind) and (
            not right or all(any(alike(mine, theirs) for theirs in right) for mine in given)
        )
    return isinstance(given, type(right))


def same(given: Any, right: Any) -> bool:
    """Whether two values are the same answer (both in one form, see `read`)."""
    if not alike(given, right):
        return False
    if isinstance(right, float) and isinstance(given, int | float):
        return abs(given - right) <= 1e-6 * max(1.0, abs(right))
    if isinstance(right, list | tuple) and isinstance(given, list | tuple):
        return len(given) == len(right) and all(map(same, given, right))
    return bool(given == right)


def difference(given: Any, right: Any, form: Form = repr) -> str:
    """What is wrong with an answer, without giving the right one away where the kind or the size of
    it already says something.
    """
    if isinstance(right, bool):
        return (
            f"it is not {given}"
            if isinstance(given, bool)
            else f"the answer is True or False; this is {kind(given)}"
        )
    if isinstance(right, int | float):
        if isinstance(given, bool) or not isinstance(given, int | float):
            return f"the answer is a number; this is {kind(given)}"
        return f"{form(given)} is too {'large' if given > right else 'small'}"
    if isinstance(right, Set):
        return _of_sets(given, right)
    if isinstance(right, list | tuple):
        return _of_lists(given, right, form)
    if type(given) is not type(right):
        return f"the answer is {kind(right)}; this is {kind(given)}"
    return f"it is not {form(given)}"


def _of_sets(given: Any, right: Set[Any]) -> str:
    if not isinstance(given, Set):
        return f"the answer is a set, such as {{'this', 'that'}}; this is {kind(given)}"
    parts = [(len(right - given), "missing"), (len(given - right), "too many")]
    return ", ".join(f"{count} {what}" for count, what in parts if count)


def _of_lists(given: Any, right: Sequence[Any], form: Form) -> str:
    count = (
        "a pair"
        if len(right) == 2 and isinstance(right, tuple)
        else f"a {type(right).__name__} of {len(right)}"
    )
    if isinstance(given, Set):
        return f"the order matters here: the answer is {count}, and a set has no order"
    if not isinstance(given, list | tuple):
        return f"the answer is {count}; this is {kind(given)}"
    if len(given) != len(right):
        return f"{len(given)} items; there should be {len(right)}"
    for place, (mine, theirs) in enumerate(zip(given, right, strict=True)):
        if not same(mine, theirs):
            if not alike(mine, theirs) or isinstance(theirs, list | tuple | Set):
                return f"item {place}: {difference(mine, theirs, form)}"
            return f"item {place} is not {form(mine)}"
    return "it is another answer"


def kind(value: Any) -> str:
    """A value's type, for a sentence."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
