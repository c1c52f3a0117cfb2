"""From cells to the parts of a panel: duplicates, periods, treatment; every refusal and repair is written down."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from causalbench.data import calendar
from causalbench.data.calendar import Align, Period, Timeline
from causalbench.data.reduce import Aggregate, Columns, Grain, cells
from causalbench.data.sources import Source
from causalbench.errors import DataError, listing, nearest
from causalbench.values import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRule:
    """Who was treated from when on; ``units`` and ``start``, unless a column says so."""

    units: tuple[str, ...] | None
    start: Any
    end: Any = None
    anticipation: int = 0
    align: Align = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How rows become cells."""

    grain: Grain
    aggregate: Aggregate
    on_duplicate: str
    metric: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Treatment:
    """Index of each unit's first treated period (n_periods: never), and periods treated only in part."""

    first: np.ndarray[Any, np.dtype[np.int64]]
    partial: frozenset[int]


def assemble(source: Source, columns: Columns, *, launch: LaunchRule, reading: Reading) -> dict[str, Any]:
    """Return the fields of a :class:`~causalbench.data.panel.Panel`.

    Raises
    ------
    DataError
        With the code of the row in the bad-input catalogue, the units and periods concerned, and the remedy.
    """
    findings: list[Finding] = []
    table = _with_periods(cells(source, columns), columns, findings)
    _refuse_infinite(table, columns)
    table["value"] = _cell_values(table, columns, reading, findings)
    if table["value"].isna().all():
        raise DataError(f"column {columns.outcome!r} holds no number", code="CB-D004", remedy="check the column's name")
    line = calendar.timeline(table["period"])
    _note_gaps(line, findings)
    units = tuple(sorted(table["unit"].unique()))
    treatment = _treatment(table, units, line, columns, launch, findings)
    outcome = _grid(table, units, line)
    _note_missing(table, outcome, columns, findings)
    keep = _kept_periods(line, treatment, launch, findings)
    treated = np.arange(len(line.periods)) >= treatment.first[:, None]
    return {
        "outcome": outcome[:, keep],
        "treated": treated[:, keep],
        "units": units,
        "periods": tuple(period for period, kept in zip(line.periods, keep, strict=True) if kept),
        "metric": reading.metric,
        "unit_name": columns.unit,
        "frequency": line.frequency,
        "season": line.season,
        "findings": tuple(findings),
    }


def _with_periods(table: pd.DataFrame, columns: Columns, findings: list[Finding]) -> pd.DataFrame:
    raw = table["period"].astype(object)
    distinct = list(raw.unique())
    labels, text_format = calendar.read_labels(distinct, column=columns.period)
    if text_format:
        message = f"periods in column {columns.period!r} are text"
        findings.append(Finding(code="CB-D009", severity="info", message=message, action=f"read as {text_format}"))
    table["period"] = raw.map(dict(zip(distinct, labels, strict=True))).astype(object)
    if table.duplicated(["unit", "period"]).any():
        table = _merge_cells(table)
    return table.sort_values(["unit", "period"], ignore_index=True)


def _merge_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Add up cells whose labels turned out to mean the same period (``7`` and ``7.0``)."""
    rule = {"rows": "sum", "missing": "sum", "infinite": "sum", "total": "sum"}
    rule |= {name: "min" for name in table.columns if name.endswith("low")}
    rule |= {name: "max" for name in table.columns if name.endswith("high")}
    rule |= {name: "sum" for name in table.columns if name.endswith("_missing")}
    return table.groupby(["unit", "period"], as_index=False).agg(rule)


def _refuse_infinite(table: pd.DataFrame, columns: Columns) -> None:
    bad = table[table["infinite"] > 0]
    if len(bad):
        raise DataError(
            f"column {columns.outcome!r} is infinite in {int(bad['infinite'].sum())} rows: {_keys(bad)}",
            code="CB-D007",
            remedy="correct these values, or leave them empty and choose [data] on_missing",
        )


def _cell_values(table: pd.DataFrame, columns: Columns, reading: Reading, findings: list[Finding]) -> pd.Series[float]:
    if reading.grain == "event":
        return _aggregated(table, reading.aggregate).where((table["missing"] == 0) | (reading.aggregate == "count"))
    repeated = table[table["rows"] > 1]
    if repeated.empty:
        return table["total"].where(table["missing"] == 0)
    conflicting = repeated[(repeated["low"] != repeated["high"]) | repeated["missing"].between(1, repeated["rows"] - 1)]
    _refuse_duplicates(repeated, conflicting, columns, reading.on_duplicate)
    rule = reading.on_duplicate
    findings.append(
        Finding(
            code="CB-D002" if conflicting.empty else "CB-D003",
            severity="warning",
            message=f"{len(repeated)} cells have more than one row: {_keys(repeated)}",
            action=f'on_duplicate = "{rule}"',
            count=len(repeated),
            units=tuple(sorted(repeated["unit"].unique())),
        )
    )
    values = table["low"] if rule == "exact" else _aggregated(table, "sum" if rule == "sum" else "mean")
    return values.where((table["missing"] == 0) | ((rule != "exact") & (table["missing"] < table["rows"])))


def _aggregated(table: pd.DataFrame, aggregate: Aggregate) -> pd.Series[float]:
    if aggregate == "count":
        return table["rows"].astype(float)
    return table["total"] if aggregate == "sum" else table["total"] / (table["rows"] - table["missing"]).clip(lower=1)


def _refuse_duplicates(repeated: pd.DataFrame, conflicting: pd.DataFrame, columns: Columns, rule: str) -> None:
    if rule in ("sum", "mean") or (rule == "exact" and conflicting.empty):
        return
    if conflicting.empty:
        raise DataError(
            f"{len(repeated)} cells stand twice with the same {columns.outcome!r}: {_keys(repeated)}",
            code="CB-D002",
            remedy='[data] on_duplicate = "exact" keeps one row of each',
        )
    raise DataError(
        f"{len(conflicting)} cells have rows that differ in {columns.outcome!r}: {_keys(conflicting)}",
        code="CB-D003",
        remedy='[data] on_duplicate = "sum" or "mean"; or grain = "event" if each row is an event',
    )


def _note_gaps(line: Timeline, findings: list[Finding]) -> None:
    if line.gaps:
        where = listing((f"{before} to {after}" for before, after in line.gaps), limit=3)
        message = f"nobody has data between {where} (spacing: {line.frequency})"
        action = "kept as they are; nothing is filled in"
        findings.append(Finding(code="CB-D036", severity="warning", message=message, action=action, count=len(line.gaps)))


def _note_missing(table: pd.DataFrame, outcome: Any, columns: Columns, findings: list[Finding]) -> None:
    empty = table[table["value"].isna()]
    absent = int(np.isnan(outcome).sum()) - len(empty)
    if len(empty):
        message = f"column {columns.outcome!r} is empty in {len(empty)} cells: {_keys(empty)}"
        units = tuple(sorted(empty["unit"].unique()))
        findings.append(
            Finding(code="CB-D004", severity="warning", message=message, action="missing", count=len(empty), units=units)
        )
    if absent:
        message = f"{absent} of {outcome.size} cells (unit and period) have no row"
        findings.append(Finding(code="CB-D001", severity="warning", message=message, action="missing", count=absent))


def _grid(table: pd.DataFrame, units: tuple[str, ...], line: Timeline) -> np.ndarray[Any, np.dtype[np.float64]]:
    row = table["unit"].map({unit: i for i, unit in enumerate(units)}).to_numpy(dtype=int)
    column = table["period"].map({period: j for j, period in enumerate(line.periods)}).to_numpy(dtype=int)
    outcome = np.full((len(units), len(line.periods)), np.nan)
    outcome[row, column] = table["value"].to_numpy(dtype=float)
    return outcome


def _treatment(
    table: pd.DataFrame, units: tuple[str, ...], line: Timeline, columns: Columns, launch: LaunchRule, findings: list[Finding]
) -> _Treatment:
    given = [launch.units is not None, columns.cohort is not None, columns.treatment is not None]
    if sum(given) != 1 or (launch.units is not None) != (launch.start is not None):
        raise DataError(
            "the launch must be given in exactly one way",
            remedy="name the treated units and a start, or a cohort column, or a treatment column of 0 and 1",
        )
    if columns.cohort:
        treatment = _from_cohort(table, units, line, columns.cohort, launch.align, findings)
    elif columns.treatment:
        treatment = _from_indicator(table, units, line, columns.treatment)
    else:
        treatment = _from_names(units, line, launch)
    if (treatment.first == len(line.periods)).all():
        raise DataError("no unit is treated within the data", code="CB-D012", remedy="check the launch")
    always = [unit for unit, first in zip(units, treatment.first, strict=True) if first == 0]
    if always:
        raise DataError(
            f"{len(always)} units are treated from the first period {line.periods[0]} on: {listing(always)}; "
            "without a period before the launch they say nothing about its effect",
            code="CB-D023",
            remedy="add history, or remove these units from the table",
        )
    return treatment


def _from_names(units: tuple[str, ...], line: Timeline, launch: LaunchRule) -> _Treatment:
    wanted = launch.units or ()
    unknown = [name for name in wanted if name not in units]
    if unknown or not wanted:
        found = "; ".join(f"{name!r}{nearest(name, units)}" for name in unknown) or "an empty list"
        raise DataError(
            f"treated units not in the data: {found}",
            code="CB-D019",
            remedy=f"the data have {len(units)} units, for example {listing(map(repr, units), limit=3)}",
        )
    start = calendar.read_one(launch.start, line.periods[0], what="launch start")
    index, partial = calendar.launch_index(line, start, align=launch.align)
    first = np.where(np.isin(units, wanted), index, len(line.periods)).astype(np.int64)
    return _Treatment(first=first, partial=frozenset() if partial is None else frozenset({partial}))


def _from_cohort(
    table: pd.DataFrame, units: tuple[str, ...], line: Timeline, column: str, align: Align, findings: list[Finding]
) -> _Treatment:
    first, partial, later = [], set(), []
    for unit, rows in table.groupby("unit", sort=True):
        raw = sorted({str(v) for side in ("low", "high") for v in rows[f"cohort_{side}"].dropna()})
        missing, total = int(rows["cohort_missing"].sum()), int(rows["rows"].sum())
        if len(raw) > 1 or (raw and missing):
            values = listing([*raw, *(["empty"] if missing else [])])
            raise DataError(
                f"column {column!r} varies within unit {unit!r}: {values}",
                code="CB-D022",
                remedy="give every row of a unit the same launch period",
            )
        value = rows["cohort_low"].dropna().iloc[0] if missing < total else None
        start = _cohort_start(value, line, column)
        if start is None:
            first.append(len(line.periods))
        elif start > line.periods[-1]:  # type: ignore[operator]
            later.append(str(unit))
            first.append(len(line.periods))
        elif start < line.periods[0]:  # type: ignore[operator]
            first.append(0)
        else:
            index, part = calendar.launch_index(line, start, align=align, what=f"launch of {unit!r}")
            first.append(index)
            partial |= set() if part is None else {part}
    if later:
        message = f"{len(later)} units launch after the last period {line.periods[-1]}: {listing(later)}"
        action = "used as not treated"
        findings.append(
            Finding(code="CB-D012", severity="warning", message=message, action=action, count=len(later), units=tuple(later))
        )
    return _Treatment(first=np.array(first, dtype=np.int64), partial=frozenset(partial))


def _cohort_start(value: Any, line: Timeline, column: str) -> Period | None:
    """Read a cohort; None for never treated: missing, infinite, or 0 below the first period."""
    if value is None or (isinstance(value, (float, np.floating)) and not np.isfinite(value)):
        return None
    if str(value).strip().casefold() in ("inf", "never", ""):
        return None
    if isinstance(line.periods[0], int) and line.periods[0] > 0 and str(value) in ("0", "0.0"):
        return None
    if isinstance(value, dt.datetime) and pd.isna(value):
        return None
    return calendar.read_one(value, line.periods[0], what=f"column {column!r}")


def _from_indicator(table: pd.DataFrame, units: tuple[str, ...], line: Timeline, column: str) -> _Treatment:
    low, high = (pd.to_numeric(table[f"treatment_{side}"], errors="coerce") for side in ("low", "high"))
    bad = table[~low.isin([0, 1]) | ~high.isin([0, 1]) | (low != high) | (table["treatment_missing"] > 0)]
    if len(bad):
        raise DataError(
            f"treatment column {column!r} is not plainly 0 or 1 in {len(bad)} cells: {_keys(bad)}",
            code="CB-D024",
            remedy="use 0 before the launch and 1 from it on, one value per unit and period",
        )
    position = {period: j for j, period in enumerate(line.periods)}
    first = []
    for unit, rows in table.assign(on=low == 1).groupby("unit", sort=True):
        on = rows["on"].to_numpy()
        start = int(on.argmax()) if on.any() else len(on)
        if not on[start:].all():
            back = rows["period"].iloc[start + int((~on[start:]).argmax())]
            raise DataError(
                f"treatment of unit {unit!r} switches on at {rows['period'].iloc[start]} and off again at {back}",
                code="CB-D021",
                remedy="the methods here need a treatment that stays on; end the data before it, or study the first spell",
            )
        first.append(position[rows["period"].iloc[start]] if on.any() else len(line.periods))
    return _Treatment(first=np.array(first, dtype=np.int64), partial=frozenset())


def _kept_periods(
    line: Timeline, treatment: _Treatment, launch: LaunchRule, findings: list[Finding]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Leave out partly treated periods, those that may anticipate the launch, and those after the end of interest."""
    keep = np.ones(len(line.periods), dtype=bool)
    start = int(treatment.first.min())
    dropped = {"treated in part": sorted(treatment.partial)}
    dropped["may anticipate the launch"] = list(range(max(start - launch.anticipation, 0), start))
    if launch.end is not None:
        end = calendar.read_one(launch.end, line.periods[0], what="launch end")
        if end < line.periods[start]:  # type: ignore[operator]
            raise DataError(f"launch end {end} lies before the launch {line.periods[start]}", remedy="correct one of them")
        dropped[f"after the end {end}"] = [j for j, period in enumerate(line.periods) if period > end]  # type: ignore[operator]
    for reason, indices in dropped.items():
        indices = [j for j in indices if keep[j]]
        if indices:
            keep[indices] = False
            message = f"{len(indices)} periods are {reason}: {listing(line.periods[j] for j in indices)}"
            message = message.replace("are may", "may").replace("are after", "lie after")
            findings.append(
                Finding(code="CB-D029", severity="info", message=message, action="left out", count=len(indices))
            )
    return keep


def _keys(rows: pd.DataFrame) -> str:
    """Name the first few cells."""
    return listing(f"{unit} at {period}" for unit, period in zip(rows["unit"], rows["period"], strict=True))
