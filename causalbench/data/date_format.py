"""Dates written in a form that the study names, such as ``%d/%m/%Y``, and the forms that a text may have."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from causalbench.errors import DataError

_DAYS = tuple(
    mark.join(order) + clock
    for mark in "/.-"
    for order in (("%d", "%m", "%Y"), ("%m", "%d", "%Y"), ("%d", "%m", "%y"), ("%m", "%d", "%y"), ("%y", "%m", "%d"))
    for clock in ("", " %H:%M", " %H:%M:%S")
)
_OTHERS = ("%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%b %Y", "%B %Y")
_CANDIDATES = (*_DAYS, *_OTHERS, "%m/%Y", "%Y/%m", "%G-W%V")

_CLOCK = re.compile(r"%[HIMSpfcX]")
_ISO_WEEK = re.compile(r"%V")
_WEEKDAY = re.compile(r"%[uwaA]")
_OTHER_WEEK = re.compile(r"%[UW]")


def read_as(value: Any, date_format: str) -> dt.date | dt.datetime | None:
    """Read text, or a whole number by its digits; a date, or a time where the format has a clock. None if it doesn't fit.

    An ISO week without a weekday (``%G-W%V``) stands for its Monday.
    """
    if isinstance(value, (bool, np.bool_)):
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    if not isinstance(value, (str, int, np.integer)):
        return None
    text = str(value).strip()
    if _ISO_WEEK.search(date_format) and not _WEEKDAY.search(date_format):
        text, date_format = f"{text} 1", f"{date_format} %u"
    try:
        moment = dt.datetime.strptime(text, date_format)  # noqa: DTZ007 - periods are local; a zone is refused later
    except (ValueError, re.error):
        return None
    return moment if _CLOCK.search(date_format) else moment.date()


def formats_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the usual forms in which every one of these texts can be read."""
    texts = list(texts)
    return tuple(form for form in _CANDIDATES if all(read_as(text, form) is not None for text in texts))


def require_date_format(date_format: str) -> None:
    """Refuse a form that doesn't fix a date: it must read back the day, month or year that it writes.

    Raises
    ------
    DataError
        With what is missing.
    """
    day = dt.datetime(2023, 11, 22)  # noqa: DTZ001 - any day
    back = read_as(day.strftime(date_format), date_format)
    found = back.date() if isinstance(back, dt.datetime) else back
    exact = {day.date()}
    rounded = {dt.date(2023, 11, 1), dt.date(2023, 1, 1)}
    if _ISO_WEEK.search(date_format):
        rounded = {dt.date(2023, 11, 20)}
    elif _OTHER_WEEK.search(date_format):
        rounded = set()
    if found not in exact | rounded:
        raise DataError(
            f"date_format {date_format!r} doesn't fix a date",
            code="CB-D010",
            remedy='name year, month and day, such as "%d/%m/%Y"; or year and month, a year, or an ISO week "%G-W%V"',
        )
