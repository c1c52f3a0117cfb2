"""What a first small query shows of a table that stays in its engine: periods, launches, means, and whatever refuses it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import narwhals as nw
import numpy as np
import pandas as pd

from causalbench.data import calendar
from causalbench.data.assembly import assemble, note_gaps
from causalbench.data.calendar import Timeline
from causalbench.data.engine_sums import MOST_PERIODS
from causalbench.data.launch import LaunchRule, cohort_start
from causalbench.data.outcome import Reading
from causalbench.data.reduce import Columns, refuse_written, unit_labels
from causalbench.data.sources import Source, collect, from_object
from causalbench.errors import DataError, listing
from causalbench.values import Finding, FloatArray

_MOST_GROUPS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EngineTable:
    """A table, its columns by role, and its rows prepared for sums."""

    source: Source
    columns: Columns
    reading: Reading
    frame: nw.LazyFrame[Any]

    @property
    def launch_column(self) -> str:
        """Name of the prepared column that says who was treated when."""
        return "__cohort" if self.columns.cohort else "__treatment"

    def rows(self, flag: nw.Expr, *, limit: int = 200_000) -> pd.DataFrame:
        """Return the rows that an expression picks, under the table's own names."""
        named = {f"__{role}": column for role, column in self.columns.named().items()}
        picked = self.frame.filter(flag).select(*named).head(limit)
        return collect(picked, self.source).rename(columns=named)

    def labels(self, units: Sequence[Any]) -> tuple[str, ...]:
        """Return units as text."""
        return tuple(unit_labels(pd.Series(list(units)))) if units else ()


def overview_of(table: EngineTable, written: tuple[str, ...]) -> pd.DataFrame:
    """Return rows, missing and infinite values and the total by period and launch; refuses what that shows."""
    source, columns, value = table.source, table.columns, nw.col("__value")
    unnamed, inexact = _unit_flags(table)
    frame = table.frame.with_columns(
        nw.when(value.is_finite()).then(value).alias("__finite"),
        nw.when(unnamed).then(nw.lit(1)).otherwise(nw.lit(0)).alias("__unnamed"),
        nw.when(inexact).then(nw.lit(1)).otherwise(nw.lit(0)).alias("__inexact"),
    )
    names = {name: f"__{name}" for name in ("missing", "infinite", "unnamed", "inexact")} | {"total": "__finite"}
    names |= {f"{role}_unread": f"__{role}_unread" for role in written}
    measures = [nw.len().alias("rows"), *(nw.col(column).sum().alias(name) for name, column in names.items())]
    groups = frame.group_by("__period", table.launch_column).agg(*measures).head(_MOST_GROUPS + 1)
    overview = collect(groups, source)
    if overview.empty:
        raise DataError(
            f"{source.origin} has no rows", code="CB-D033", remedy="check the export or the query's filters"
        )
    if len(overview) > _MOST_GROUPS:
        raise DataError(
            f"columns {columns.period!r} and {columns.named()[table.launch_column[2:]]!r} have more than {_MOST_GROUPS} "
            "pairs of values",
            remedy="check their names; periods and launches should be few",
        )
    for role in written:
        if overview[f"{role}_unread"].sum() > 0:
            refuse_written(source, columns, role)
    period = overview["__period"]
    no_period = period.isna() | (period.astype(str).str.strip() == "")
    refuse_empty(table, "unit", int(overview["unnamed"].sum()))
    refuse_empty(table, "period", int(overview.loc[no_period, "rows"].sum()))
    if overview["inexact"].sum():
        raise DataError(
            f"{int(overview['inexact'].sum())} rows have units stored as floating-point numbers that aren't exact whole numbers",
            code="CB-D052",
            remedy="store the unit column as text",
        )
    if infinite := int(overview["infinite"].sum()):
        retell(table, nw.col("__infinite") > 0, f"{infinite} rows are infinite in {columns.outcome!r}", limit=5)
    if overview["missing"].sum() == overview["rows"].sum():
        raise DataError(f"column {columns.outcome!r} holds no number", code="CB-D004", remedy="check the column's name")
    if columns.treatment:
        _require_indicator(table, overview)
    return overview


def _unit_flags(table: EngineTable) -> tuple[nw.Expr, nw.Expr]:
    """Tell which rows have no unit, and which have a number that isn't exactly whole."""
    unit = nw.col("__unit")
    if not table.frame.collect_schema()["__unit"].is_float():
        return unit.is_null(), nw.lit(value=False)
    return unit.is_null() | unit.is_nan(), (unit != unit.floor()) | (unit.abs() >= 2.0**53)


def refuse_empty(table: EngineTable, role: str, n_rows: int) -> None:
    """Refuse rows without a unit or a period."""
    if n_rows:
        column = table.columns.named()[role]
        raise DataError(
            f"{table.source.origin}: column {column!r} is empty in {n_rows} rows",
            code={"unit": "CB-D005", "period": "CB-D006"}[role],
            remedy=f"fill in {column!r} or remove these rows",
        )


def _require_indicator(table: EngineTable, overview: pd.DataFrame) -> None:
    values = pd.to_numeric(overview["__treatment"], errors="coerce")
    bad = overview[~values.isin([0, 1])]
    if len(bad):
        found = listing(sorted(map(str, bad["__treatment"].unique())))
        raise DataError(
            f"treatment column {table.columns.treatment!r} is not plainly 0 or 1 in {int(bad['rows'].sum())} rows; it holds "
            f"{found}",
            code="CB-D057",
            remedy="use 0 before the launch and 1 from it on, one value per unit and period",
        )


def line_of(
    table: EngineTable, overview: pd.DataFrame, findings: list[Finding]
) -> tuple[Timeline, tuple[tuple[Any, ...], ...]]:
    """Return the periods in order and the raw labels of each, and add their index to the overview as ``__at``."""
    column, date_format = table.columns.period, table.reading.date_format
    cells = overview["__period"].astype(object)
    raw = list(cells.unique())
    labels, text_format = calendar.read_labels(raw, column=column, date_format=date_format)
    if text_format:
        message = f"periods in column {column!r} are text"
        findings.append(Finding(code="CB-D009", severity="info", message=message, action=f"read as {text_format}"))
    line = calendar.timeline(labels, date_format=date_format)
    if len(line.periods) > MOST_PERIODS:
        raise DataError(
            f"column {column!r} has {len(line.periods)} periods; sums of their products in the table's own engine are formed "
            f"of at most {MOST_PERIODS}",
            remedy="aggregate to longer periods in the query, or read the table as a panel",
        )
    note_gaps(line, findings)
    position = {period: index for index, period in enumerate(line.periods)}
    label_of = dict(zip(raw, labels, strict=True))
    overview["__at"] = [position[label_of[value]] for value in cells]
    dtype = table.frame.collect_schema()["__period"]
    groups = tuple(
        tuple(_literal(value, dtype) for value, label in zip(raw, labels, strict=True) if label == period)
        for period in line.periods
    )
    return line, groups


def _literal(value: Any, dtype: nw.dtypes.DType) -> Any:
    """Return a value as plain Python, of the column's own type, so that no engine converts a column to compare it."""
    if isinstance(value, (pd.Timestamp, np.datetime64)):
        stamp = pd.Timestamp(value)
        return stamp.date() if dtype == nw.Date else stamp.to_pydatetime()
    if isinstance(value, (dt.date, str, bool, np.bool_)):
        return value
    return int(value) if float(value).is_integer() else float(value)


def launches_of(
    table: EngineTable, overview: pd.DataFrame, line: Timeline, launch: LaunchRule
) -> tuple[dict[int, tuple[Any, ...]] | None, frozenset[int]]:
    """Return the raw cohorts of every first treated period, and periods treated only in part.

    A launch after the last period has a number of its own, one above that of the units never treated.
    """
    column = table.columns.cohort
    if column is None:
        return None, frozenset()
    dtype = table.frame.collect_schema()["__cohort"]
    groups: dict[int, tuple[Any, ...]] = {}
    partial = set()
    for value in overview["__cohort"].dropna().unique():
        start, index, part = cohort_start(value, line, column), 0, None
        if start is None:
            continue
        if start > line.periods[-1]:  # type: ignore[operator]
            index = len(line.periods) + 1
        elif start >= line.periods[0]:  # type: ignore[operator]
            index, part = calendar.launch_index(line, start, align=launch.align, what=f"a launch in column {column!r},")
        groups[index] = (*groups.get(index, ()), _literal(value, dtype))
        partial |= set() if part is None else {part}
    return groups, frozenset(partial)


def centres_of(overview: pd.DataFrame) -> FloatArray:
    """Return the mean of every period over all units: near enough to the cohorts' means, usually."""
    filled = (overview["rows"] - overview["missing"]).groupby(overview["__at"]).sum().to_numpy(dtype=float)
    totals = overview["total"].groupby(overview["__at"]).sum().to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        centres = totals / filled
    return np.where(np.isfinite(centres), centres, 0.0)


def retell(table: EngineTable, flag: nw.Expr, what: str, *, limit: int = 200_000, remedy: str = "") -> NoReturn:
    """Refuse with the words that a panel of the few rows concerned would be refused with."""
    rows = table.rows(flag, limit=limit)
    launch = LaunchRule(units=None, start=None)
    try:
        reading = replace(table.reading, on_duplicate="error")
        assemble(from_object(rows), table.columns, launch=launch, reading=reading)
    except DataError as error:
        raise DataError(f"{what}; {error.message}", code=error.code, remedy=remedy or error.remedy) from None
    raise DataError(what, remedy=remedy or "correct these rows")
