"""One error tree: every failure a user can cause or meet has a class, an exit code and a remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar


class CausalbenchError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    message
        What was found, with column, unit and count.
    remedy
        What the user can do about it, one sentence or one key.
    code
        Stable identifier (``CB-D004``) for rows of the bad-input catalogue.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "", code: str = "") -> None:
        self.message, self.remedy, self.code = message, remedy, code
        super().__init__(message, remedy, code)

    def __str__(self) -> str:
        head = f"{self.code}: {self.message}" if self.code else self.message
        return f"{head}\n  To mend it: {self.remedy}" if self.remedy else head


class StudyError(CausalbenchError):
    """The study file or the command's flags are wrong; ``problems`` lists all of them."""

    exit_code = 2

    def __init__(self, problems: Sequence[str], *, where: str = "study") -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{where}: {count}", *(f"  - {problem}" for problem in self.problems)]))


class DataError(CausalbenchError):
    """The table can't be used as it is."""

    exit_code = 2


class GraphError(CausalbenchError):
    """The graph can't be read, or contradicts itself."""

    exit_code = 2


class OutputError(CausalbenchError):
    """The output folder is in use, holds another run, or can't be written."""

    exit_code = 2


class RefusalError(CausalbenchError):
    """The data can't answer the question with this method."""

    exit_code = 3


class ConvergenceError(RefusalError):
    """A solver ended without a certificate of optimality, so there is no number to report."""


class LockError(CausalbenchError):
    """A sealed plan isn't what was sealed, or doesn't fit what it is used for."""

    exit_code = 4


class ResourceError(CausalbenchError):
    """Disk or memory ran out; nothing was published."""

    exit_code = 5


class NotebookError(CausalbenchError):
    """The notebook failed or disagrees with the evidence."""

    exit_code = 7


def nearest(found: str, allowed: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest allowed name, or an empty string."""
    names = list(allowed)
    folded = {name.casefold().strip(): name for name in names}
    match = difflib.get_close_matches(found.casefold().strip(), folded, n=1, cutoff=0.6)
    return f" (did you mean {folded[match[0]]!r}?)" if match else ""


def listing(names: Iterable[object], *, limit: int = 5) -> str:
    """Return the first names, comma separated, and how many more there are."""
    items = [str(name) for name in names]
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def require_one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse a rule that doesn't exist, naming the nearest that does."""
    if value not in allowed:
        raise DataError(f"{name} is {value!r}{nearest(str(value), allowed)}", remedy=f"use one of {', '.join(allowed)}")
