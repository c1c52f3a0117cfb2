"""Periods: reading their labels, their spacing, and where a launch falls between them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import numpy as np
import pandas as pd

from causalbench.data.date_format import formats_of, read_as, require_date_format
from causalbench.errors import DataError, listing
from causalbench.values import IntArray

Period = int | dt.date | dt.datetime
Align = Literal["error", "next", "previous", "drop_partial"]

_WHOLE = re.compile(r"^[+-]?\d+(\.0*)?$")
_MONTH = re.compile(r"^\d{4}-\d{2}$")

# name: shortest and longest distance between neighbours, periods in a season
_HOURS = {"hour": (1, 1, 24)}
_DAYS = {
    "day": (1, 1, 7),
    "week": (7, 7, 52),
    "month": (28, 31, 12),
    "quarter": (90, 92, 4),
    "year": (365, 366, 1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The distinct periods of a panel.

    Attributes
    ----------
    periods
        Ascending: whole numbers, dates, or naive local times.
    frequency
        ``day``, ``week``, ``month``, ``quarter``, ``year``, ``hour``, ``number`` (evenly spaced) or ``irregular``.
    season
        Number of periods in a season of that frequency; 1 where there is none.
    gaps
        Neighbouring periods further apart than the frequency.
    date_format
        How the study says that dates are written; None: ISO.
    """

    periods: tuple[Period, ...]
    frequency: str
    season: int
    gaps: tuple[tuple[Period, Period], ...]
    date_format: str | None = None


def read_labels(
    values: Sequence[Any], *, column: str, date_format: str | None = None
) -> tuple[list[Period], str | None]:
    """Read period labels; returns them with the text format that was recognised, None where they weren't text.

    Without a ``date_format`` text is read as whole numbers or ISO dates and nothing else: ``03/04/2024`` has two readings.

    Raises
    ------
    DataError
        If a label has another form, forms are mixed, or times carry a zone.
    """
    if date_format is None:
        pairs = [read_label(value) for value in values]
    else:
        require_date_format(date_format)
        pairs = [(read_as(value, date_format), date_format) for value in values]
    unread = [value for value, (label, _) in zip(values, pairs, strict=True) if label is None]
    if unread:
        _refuse_unread(unread, column, date_format)
    labels = [label for label, _ in pairs if label is not None]
    if any(isinstance(label, dt.datetime) for label in labels):
        labels = [_as_time(label) for label in labels]
    if len({type(label) for label in labels}) > 1:
        raise DataError(
            f"period column {column!r} mixes whole numbers, dates and times",
            code="CB-D010",
            remedy="write all periods in one form",
        )
    if isinstance(labels[0], dt.datetime) and any(label.tzinfo for label in labels if isinstance(label, dt.datetime)):
        raise DataError(
            f"period column {column!r} carries time zones",
            code="CB-D034",
            remedy="convert it to local dates of the markets first",
        )
    formats = sorted({found for _, found in pairs if found})
    return labels, " and ".join(formats) or None


def _refuse_unread(unread: list[Any], column: str, date_format: str | None) -> NoReturn:
    """Refuse labels that can't be read, with every reading that a ``date_format`` could give them."""
    examples = listing(sorted(map(repr, unread)), limit=3)
    if date_format is not None:
        raise DataError(
            f"period column {column!r}: {len(unread)} labels aren't text written as {date_format}, for example {examples}",
            code="CB-D010",
            remedy="correct date_format under [data], or leave it out where periods are numbers, dates or ISO text",
        )
    texts = sorted(value.strip() for value in unread if isinstance(value, str))
    fitting = formats_of(texts) if len(texts) == len(unread) else ()
    if not fitting:
        raise DataError(
            f"period column {column!r}: {len(unread)} labels are neither whole numbers nor ISO dates, for example {examples}",
            code="CB-D010",
            remedy="write dates as 2024-03-04, months as 2024-03, years as 2024; or say how they are written: date_format "
            "under [data], or --date-format",
        )
    example = max(texts, key=lambda text: len({read_as(text, form) for form in fitting}))
    readings = " or ".join(f"{read_as(example, form)} ({form})" for form in fitting)
    raise DataError(
        f"period column {column!r}: {len(unread)} labels aren't ISO dates; {example!r} may be {readings}",
        code="CB-D010",
        remedy="say how dates are written: "
        + " or ".join(f'date_format = "{form}"' for form in fitting)
        + " under [data], or --date-format",
    )


def read_one(value: Any, timeline_like: Period, *, what: str, date_format: str | None = None) -> Period:
    """Read one date or number given by a person or a cohort column, in the form the periods have."""
    label, _ = read_label(value)
    if date_format is not None and (written := read_as(value, date_format)) is not None:
        if isinstance(value, str) and label is not None and type(label) is type(written) and label != written:
            raise DataError(
                f"{what} is {value!r}: {label} as an ISO date, {written} as {date_format}",
                code="CB-D010",
                remedy=f"write {what} so that it has one reading",
            )
        label = written
    if isinstance(timeline_like, dt.datetime) and label is not None:
        label = _as_time(label)
    if label is None or type(label) is not type(timeline_like):
        raise DataError(
            f"{what} is {value!r}, but periods look like {timeline_like}",
            code="CB-D012",
            remedy=f"write {what} in the same form as the periods",
        )
    return label


def timeline(labels: Sequence[Period], *, date_format: str | None = None) -> Timeline:
    """Order the distinct periods and infer their spacing."""
    periods = tuple(sorted(set(labels)))
    if len(periods) < 2:
        return Timeline(periods=periods, frequency="number", season=1, gaps=(), date_format=date_format)
    if isinstance(periods[0], int):
        distance, spacings = np.diff(np.array(periods, dtype=float)), {}
    elif isinstance(periods[0], dt.datetime):
        distance, spacings = np.diff(np.array(periods, dtype="datetime64[s]")).astype(float) / 3600, _HOURS
    else:
        distance, spacings = np.diff(np.array(periods, dtype="datetime64[D]")).astype(float), _DAYS
    shortest, longest = float(distance.min()), float(distance.min())
    even = distance.max() == shortest or isinstance(periods[0], int)
    frequency, season = "number" if even else "irregular", 1
    for name, (low, high, in_season) in spacings.items():
        if low <= shortest <= high:
            frequency, season, longest = name, in_season, float(high)
    gaps = tuple((periods[i], periods[i + 1]) for i in np.flatnonzero(distance > longest))
    return Timeline(periods=periods, frequency=frequency, season=season, gaps=gaps, date_format=date_format)


def launch_index(line: Timeline, start: Period, *, align: Align, what: str = "launch start") -> tuple[int, int | None]:
    """Return the index of the first treated period, and that of a partly treated one to leave out.

    Raises
    ------
    DataError
        If the launch lies outside the periods or between two of them and no rule says what to do.
    """
    first, last = line.periods[0], line.periods[-1]
    index = int(np.searchsorted(np.array(line.periods, dtype=object), start))  # type: ignore[arg-type]
    if index == len(line.periods):
        raise DataError(
            f"{what} {start} lies after the last period {last}: 0 post periods",
            code="CB-D012",
            remedy="wait for data after the launch, or correct the date",
        )
    if line.periods[index] == start:
        return index, None
    if index == 0:
        raise DataError(
            f"{what} {start} lies before the first period {first}: 0 pre periods",
            code="CB-D012",
            remedy="add history before the launch, or correct the date",
        )
    before, after = line.periods[index - 1], line.periods[index]
    if align == "error":
        raise DataError(
            f"{what} {start} falls between the periods {before} and {after}",
            code="CB-D013",
            remedy='say what to do with the partly treated period: [launch] align = "next" (counts as before), '
            '"previous" (counts as after) or "drop_partial"',
        )
    return {"next": (index, None), "previous": (index - 1, None), "drop_partial": (index, index - 1)}[align]


def read_label(value: Any) -> tuple[Period | None, str | None]:
    """Read one label, with the text format it had; a label that can't be read is None."""
    if isinstance(value, (bool, np.bool_)) or value is None:
        return None, None
    if isinstance(value, (int, np.integer)):
        return _whole(int(value))
    if isinstance(value, (float, np.floating)):
        return _whole(int(value)) if float(value).is_integer() else (None, None)
    if isinstance(value, (dt.datetime, pd.Timestamp, np.datetime64)):
        return _date_or_time(pd.Timestamp(value)), None
    if isinstance(value, dt.date):
        return value, None
    if isinstance(value, pd.Period):
        return _date_or_time(value.to_timestamp()), None
    return _read_text(str(value).strip())


def _read_text(text: str) -> tuple[Period | None, str | None]:
    if _WHOLE.match(text):
        label, text_format = _whole(int(text.partition(".")[0]))
        return label, text_format or "whole number"
    try:
        if _MONTH.match(text):
            return dt.date.fromisoformat(f"{text}-01"), "ISO month"
        if len(text) == 10:
            return dt.date.fromisoformat(text), "ISO date"
        return _date_or_time(pd.Timestamp(dt.datetime.fromisoformat(text))), "ISO time"
    except ValueError:
        return None, None


def _whole(number: int) -> tuple[Period, str | None]:
    """Read ``20240131`` as a date, which its recorded format says, and any other number as itself."""
    if 1900_01_01 <= number <= 2100_12_31:
        try:
            return dt.date(number // 10_000, number // 100 % 100, number % 100), "date written YYYYMMDD"
        except ValueError:
            return number, None
    return number, None


def _as_time(label: Period) -> Period:
    """Read a date among times as its midnight."""
    return dt.datetime.combine(label, dt.time()) if type(label) is dt.date else label


def _date_or_time(stamp: pd.Timestamp) -> dt.date | dt.datetime:
    if stamp.tzinfo is None and stamp == stamp.normalize():
        return stamp.date()
    return stamp.to_pydatetime()


def positions(periods: Sequence[Period], frequency: str) -> IntArray:
    """Place periods on a whole-numbered axis on which neighbours are one step apart, so that gaps count.

    Parameters
    ----------
    periods
        Ascending and distinct.
    frequency
        Of the timeline; irregular dates are numbered one by one.

    Examples
    --------
    >>> positions((2001, 2002, 2004), "year").tolist()
    [0, 1, 3]
    """
    if isinstance(periods[0], int):
        steps = [period - periods[0] for period in periods]  # type: ignore[operator]
    elif frequency == "irregular":
        steps = list(range(len(periods)))
    elif frequency in ("month", "quarter", "year"):
        steps = [12 * period.year + period.month for period in periods]  # type: ignore[union-attr]
    else:
        seconds = pd.DatetimeIndex(list(periods)).as_unit("s").asi8
        steps = seconds.tolist()
    distance = np.array(steps, dtype=np.int64) - steps[0]
    found: IntArray = distance // max(int(np.gcd.reduce(distance)), 1)
    return found


def overlapped(periods: Sequence[Period], start: Period, end: Period) -> list[bool]:
    """Tell which periods a stretch of time touches; a period lasts until the next one begins, the last one isn't known to last.

    Examples
    --------
    >>> weeks = [dt.date(2024, 12, 16), dt.date(2024, 12, 23), dt.date(2024, 12, 30)]
    >>> overlapped(weeks, dt.date(2024, 12, 25), dt.date(2024, 12, 26))
    [False, True, False]
    """
    found = [start <= period <= end for period in periods]  # type: ignore[operator]
    begun = [j for j, period in enumerate(periods) if period <= start]  # type: ignore[operator]
    if begun and begun[-1] + 1 < len(periods):
        found[begun[-1]] = True
    return found
