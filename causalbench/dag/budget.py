"""Budgets: long searches stop in time and say that they did."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")


class OutOfTimeError(Exception):
    """A deadline passed in the middle of a piece of work: :func:`take` and the searches that have a budget catch it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A moment after which no new piece of work begins; ``at`` None: never."""

    at: float | None = None

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """Return the deadline some seconds from now; None: there is none."""
        return cls(at=None if seconds is None else time.monotonic() + seconds)

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return self.at is not None and time.monotonic() > self.at

    def check(self) -> None:
        """Leave a search that has to end."""
        if self.passed:
            raise OutOfTimeError


NEVER = Deadline()


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken(Generic[Item]):
    """What a search found within its budget; not ``complete``: there may be more."""

    items: tuple[Item, ...]
    complete: bool


def take(found: Iterable[Item], *, limit: int, deadline: Deadline = NEVER) -> Taken[Item]:
    """Take at most so many items, for at most so long.

    A search that may look for long before it finds anything is given the same deadline, and ends by it.

    Examples
    --------
    >>> take(iter("abc"), limit=2)
    Taken(items=('a', 'b'), complete=False)
    >>> take(iter("abc"), limit=3)
    Taken(items=('a', 'b', 'c'), complete=True)
    """
    items: list[Item] = []
    try:
        for item in islice(found, limit + 1):
            if len(items) == limit or deadline.passed:
                return Taken(items=tuple(items), complete=False)
            items.append(item)
    except OutOfTimeError:
        return Taken(items=tuple(items), complete=False)
    return Taken(items=tuple(items), complete=True)
