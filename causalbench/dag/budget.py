"""Budgets: long searches stop in time and say that they did."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken(Generic[Item]):
    """What a search found within its budget; not ``complete``: there may be more."""

    items: tuple[Item, ...]
    complete: bool


def take(found: Iterable[Item], *, limit: int, seconds: float | None = None) -> Taken[Item]:
    """Take at most so many items, for at most so long.

    Examples
    --------
    >>> take(iter("abc"), limit=2)
    Taken(items=('a', 'b'), complete=False)
    >>> take(iter("abc"), limit=3)
    Taken(items=('a', 'b', 'c'), complete=True)
    """
    deadline = Deadline.after(seconds)
    items: list[Item] = []
    for item in islice(found, limit + 1):
        if len(items) == limit or deadline.passed:
            return Taken(items=tuple(items), complete=False)
        items.append(item)
    return Taken(items=tuple(items), complete=True)
