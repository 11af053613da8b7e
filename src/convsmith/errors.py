"""What a user did wrong, in one sentence that names the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Names that are listed in a sentence.
MOST = 20


class UserError(ValueError):
    """A mistake that the user can mend; the command line prints it and exits with code 2.

    The message says what was asked, what was found, and what to do about it.
    """


def expect(name: str, value: object, kinds: type | tuple[type, ...], meaning: str) -> None:
    """Refuse an argument of another type than one of ``kinds``.

    Args:
        name: of the argument.
        meaning: what it is, with its article.

    Raises:
        UserError: with what was given in its place.

    >>> expect("run", 3, str, "a folder")
    Traceback (most recent call last):
    convsmith.errors.UserError: `run` is a folder; it was given an int
    """
    if isinstance(value, kinds):
        return
    kind = value.__name__ if isinstance(value, type) else type(value).__name__
    article = "an" if kind[0].lower() in "aeiou" else "a"
    given = f"the class {kind}: make one, {kind}(...)" if isinstance(value, type) else f"{article} {kind}"
    raise UserError(f"`{name}` is {meaning}; it was given {'None' if value is None else given}")


class Interrupted(KeyboardInterrupt):
    """A training was interrupted, and all that it needs to go on is saved.

    Args:
        message: where it stands, and how it goes on.
        run: the run, or its folder.
    """

    def __init__(self, message: str, run: Any) -> None:
        super().__init__(message)
        self.run = run


def nearest(word: str, choices: Iterable[str]) -> str:
    """End of a sentence that offers the most similar of ``choices``, or lists them, at most twenty.

    >>> nearest("lenet", ["lenet5", "resnet20"])
    "; did you mean 'lenet5'?"
    >>> nearest("x", ["a", "b"])
    '; choose from a, b'
    """
    known = sorted(set(choices))
    if not known:
        return "; there is nothing to choose from"
    close = difflib.get_close_matches(str(word).lower(), known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    more = f" and {len(known) - MOST} more" if len(known) > MOST else ""
    return f"; choose from {', '.join(known[:MOST])}{more}"


def shown(path: str | Path) -> str:
    """A file name fit for one line of any terminal: control characters and broken bytes escaped.

    >>> shown("a\\nb.png")
    'a\\\\nb.png'
    """
    text = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
