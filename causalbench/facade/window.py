"""Data and periods as CausalImpact's users give them, read into one window of rows."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from causalbench.data.panel import Panel
from causalbench.errors import DataError, listing
from causalbench.values import BoolArray, FloatArray
from causalbench.wording import counted

_TIME_COLUMNS = ("date", "time")
_ISO = re.compile(r"^\d{4}(-\d{2}(-\d{2}([ T].*)?)?|\d{4}([ T].*)?)?$")
_FEWEST_PRE = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """The rows from the start of the pre-period to the end of the post-period.

    Attributes
    ----------
    data
        All rows that were given, in ascending order of the index; the response is the first column.
    first, last
        Positions of the first and the last row of the window in ``data``.
    n_pre, start
        Rows in the pre-period, and where the post-period starts, counted from the window's first row. Rows between the two
        are neither learned from nor counted as an effect.
    notes
        What was read differently from how it was written.
    """

    data: pd.DataFrame
    first: int
    last: int
    n_pre: int
    start: int
    notes: tuple[str, ...]

    @property
    def rows(self) -> pd.DataFrame:
        """The window's rows."""
        return self.data.iloc[self.first : self.last + 1]

    @property
    def response(self) -> FloatArray:
        """The response, shape (n_rows,), NaN where missing."""
        values: FloatArray = self.rows.iloc[:, 0].to_numpy(dtype=float)
        return values

    @property
    def counted(self) -> BoolArray:
        """Rows of the post-period with a response, shape (n_rows,)."""
        after: BoolArray = np.arange(len(self.rows)) >= self.start
        return after & np.isfinite(self.response)

    def panel(self) -> Panel:
        """The window as a panel: one treated unit, the response, and one donor per control; rows are one step apart."""
        outcome = self.rows.to_numpy(dtype=float).T.copy()
        outcome[0, self.n_pre : self.start] = np.nan
        treated = np.zeros(outcome.shape, dtype=bool)
        treated[0, self.n_pre :] = True
        names = tuple(map(str, self.data.columns))
        return Panel(
            outcome=outcome, treated=treated, units=names, periods=tuple(range(outcome.shape[1])), metric=names[0]
        )


def label_text(label: Any) -> str:
    """Write a label of the index; a date without a time of day is its date."""
    if isinstance(label, pd.Timestamp) and label == label.normalize():
        return label.date().isoformat()
    return f"{label:.15g}" if isinstance(label, float) else str(label)


def read_window(data: Any, pre_period: Any, post_period: Any) -> Window:
    """Read data and periods.

    Raises
    ------
    DataError
        When the data aren't a numeric table with distinct labels, a control has missing values, or a period can't be read.
    """
    table = _table(data)
    notes: list[str] = []
    pre = _period(table.index, pre_period, "pre_period", notes)
    post = _period(table.index, post_period, "post_period", notes)
    if pre.stop > post.start:
        raise DataError(
            f"pre_period ends at {label_text(table.index[pre.stop - 1])}, "
            f"post_period begins at {label_text(table.index[post.start])}",
            remedy="let post_period begin after pre_period has ended",
        )
    window = Window(
        data=table,
        first=pre.start,
        last=post.stop - 1,
        n_pre=pre.stop - pre.start,
        start=post.start - pre.start,
        notes=(*notes, *_uneven(table.index[pre.start : post.stop])),
    )
    _require_enough(window)
    return window


def _require_enough(window: Window) -> None:
    known = int(np.isfinite(window.response[: window.n_pre]).sum())
    if known < _FEWEST_PRE:
        raise DataError(
            f"the response has {counted(known, 'value')} in pre_period, {_FEWEST_PRE} are needed",
            remedy="let pre_period begin earlier",
        )
    if not window.counted.any():
        raise DataError("the response has no value in post_period", remedy="let post_period end later")
    holes = window.rows.iloc[:, 1:].isna().sum()
    holes = holes[holes > 0]
    if len(holes):
        found = listing(f"{name!r} {n}" for name, n in holes.items())
        raise DataError(
            f"controls have missing values between the start of pre_period and the end of post_period: {found}",
            remedy="fill them by a rule that you can defend, or leave these columns out; only the response may have gaps",
        )


def _table(data: Any) -> pd.DataFrame:
    """Return the data as floats in ascending order of the index; what was given isn't changed."""
    try:
        table = data.copy() if isinstance(data, pd.DataFrame) else pd.DataFrame(_from_elsewhere(data))
    except ValueError as error:
        raise DataError(
            f"data of type {type(data).__name__} can't be read as a table: {error}",
            remedy="give a pandas, Polars or Arrow table or a numpy array, one row per time point, the response first",
        ) from error
    if len(table.columns) and str(table.columns[0]).casefold() in _TIME_COLUMNS:
        table = table.set_index(table.columns[0])
    if table.empty:
        raise DataError(
            f"data has {counted(len(table), 'row')} and {counted(len(table.columns), 'column')}",
            remedy="give one row per time point, with the response in the first column",
        )
    names = list(map(str, table.columns))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"columns share a name: {listing(twice)}", remedy="give every column a name of its own")
    table.index = _index(table.index)
    return _numbers(table).sort_index()


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Columns as floats, NaN where missing; what isn't a real number is refused and never turned into one."""
    wrong = {name: _unreal(column) for name, column in table.items()}
    found = listing(f"{name} ({listing(map(repr, values[:3]))})" for name, values in wrong.items() if values)
    if found:
        n = sum(map(bool, wrong.values()))
        raise DataError(
            f"{counted(n, 'column')} with values that aren't real numbers: {found}",
            remedy="leave them out, or turn them into numbers with pd.to_numeric; dates belong into the index",
        )
    floats = table.mask(table.isna(), np.nan).astype(float)
    infinite = np.isinf(floats).sum()
    infinite = infinite[infinite > 0]
    if len(infinite):
        raise DataError(
            f"infinite values: {listing(f'{name!r} {n}' for name, n in infinite.items())}",
            remedy="put the true values in their place; where the response isn't known leave it missing, NaN",
        )
    return floats


def _unreal(column: pd.Series[Any]) -> list[Any]:
    if column.dtype.kind in "biuf":
        return []
    return [value for value in column.dropna() if not isinstance(value, (Real, Decimal, np.bool_))]


def _from_elsewhere(data: Any) -> Any:
    """Turn a Polars or Arrow table into a pandas one; anything else passes."""
    found = nw.from_native(data, eager_only=True, pass_through=True)
    return found.to_pandas() if isinstance(found, nw.DataFrame) else data


def _index(index: pd.Index[Any]) -> pd.Index[Any]:
    if isinstance(index, pd.PeriodIndex):
        index = index.to_timestamp()
    elif not (isinstance(index, pd.DatetimeIndex) or pd.api.types.is_numeric_dtype(index)):
        texts = [str(label) for label in index]
        if not all(map(_ISO.match, texts)):
            wrong = next(text for text in texts if not _ISO.match(text))
            raise DataError(
                f"the index holds labels such as {wrong!r}, which are neither numbers nor ISO dates",
                remedy="make it dates, data.index = pd.to_datetime(data.index, format=...), or numbers",
            )
        index = pd.to_datetime(texts, format="ISO8601")
    if not index.is_unique or index.hasnans:
        twice = index[index.duplicated() | index.isna()].unique()
        raise DataError(
            f"{counted(len(twice), 'label')} of the index missing or in several rows: {listing(twice)}",
            remedy="keep one row per time point",
        )
    return index


def _period(index: pd.Index[Any], period: Any, name: str, notes: list[str]) -> slice:
    """Positions of the rows of a period, both ends included as pandas' label slices include them."""
    if (
        isinstance(period, str)
        or not isinstance(period, (Sequence, np.ndarray, pd.Index, pd.Series))
        or len(period) != 2
    ):
        raise DataError(f"{name} is {period!r}", remedy=f"give {name} as a list of its first and its last label")
    ends = [_label(index, end, name) for end in _each(period)]
    try:
        found = index.slice_indexer(*ends)
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"{name} is {period!r}, which can't be read", remedy=_remedy(index, name)) from error
    begin, end = map(label_text, ends)
    if found.stop <= found.start:
        if _reversed(index, ends):
            raise DataError(f"the ends of {name} are reversed: {begin} to {end}", remedy="give the earlier one first")
        raise DataError(
            f"no row of the data lies in {name}, {begin} to {end}; "
            f"they go from {label_text(index[0])} to {label_text(index[-1])}",
            remedy=_remedy(index, name),
        )
    if not all(label in index for label in ends):
        rows = counted(found.stop - found.start, "row")
        first, last = label_text(index[found.start]), label_text(index[found.stop - 1])
        notes.append(f"{name} {begin} to {end} holds {rows}, {first} to {last}")
    return slice(found.start, found.stop)


def _reversed(index: pd.Index[Any], ends: Sequence[Any]) -> bool:
    first, last = (_stamp(index, end) for end in ends) if isinstance(index, pd.DatetimeIndex) else ends
    return bool(first > last)


def _each(period: Any) -> Iterable[Any]:
    return period.tolist() if isinstance(period, np.ndarray) else list(period)


def _label(index: pd.Index[Any], label: Any, name: str) -> Any:
    """One end of a period as the index writes its labels."""
    if isinstance(index, pd.DatetimeIndex):
        if isinstance(label, str) and _ISO.match(label):
            return label
        if not isinstance(label, (dt.date, np.datetime64, pd.Period)):
            raise DataError(f"{name} holds {label!r}, the index holds dates", remedy=_remedy(index, name))
        return _stamp(index, label)
    number = isinstance(label, (int, float, np.number)) and not isinstance(label, bool) and np.isfinite(label)
    if not number:
        raise DataError(f"{name} holds {label!r}, the index holds numbers", remedy=_remedy(index, name))
    return label


def _stamp(index: pd.DatetimeIndex, label: Any) -> pd.Timestamp:
    stamp = label.to_timestamp() if isinstance(label, pd.Period) else pd.Timestamp(label)
    return stamp.tz_localize(index.tz) if index.tz is not None and stamp.tzinfo is None else stamp


def _remedy(index: pd.Index[Any], name: str) -> str:
    example = index[0].date().isoformat() if isinstance(index, pd.DatetimeIndex) else index[0]
    hint = "dates of ISO form" if isinstance(index, pd.DatetimeIndex) else "labels of the index, not positions from 1"
    return f"give {name} as {hint}, such as [{example!r}, ...]"


def _uneven(index: pd.Index[Any]) -> tuple[str, ...]:
    """Say where rows are missing from an otherwise regular index, which counts rows as one step apart all the same."""
    if len(index) < 3:
        return ()
    steps = np.diff(index.as_unit("s").asi8 if isinstance(index, pd.DatetimeIndex) else index.to_numpy(dtype=float))
    wide = int((steps >= 2 * np.median(steps)).sum())
    if not wide:
        return ()
    return (f"{counted(wide, 'step')} between neighbouring rows twice the usual or more; rows count as one step apart",)
