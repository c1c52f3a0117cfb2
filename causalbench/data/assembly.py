"""From cells to the parts of a panel: duplicates, periods, treatment; every refusal and repair is written down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from causalbench.data import calendar
from causalbench.data.attributes import attributes_of
from causalbench.data.calendar import Align, Timeline
from causalbench.data.launch import LaunchRule, Treatment, kept_periods, one_form, treatment_of
from causalbench.data.reduce import Aggregate, Columns, Grain, cells, name_cells
from causalbench.data.sources import Source
from causalbench.errors import DataError, listing, require_one_of
from causalbench.values import BoolArray, Finding

OnDuplicate = Literal["error", "exact", "sum", "mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How rows become cells."""

    grain: Grain
    aggregate: Aggregate
    on_duplicate: OnDuplicate
    metric: str


def assemble(source: Source, columns: Columns, *, launch: LaunchRule, reading: Reading) -> dict[str, Any]:
    """Return the fields of a :class:`~causalbench.data.panel.Panel`.

    Raises
    ------
    DataError
        With the code of the row in the bad-input catalogue, the units and periods concerned, and the remedy.
    """
    _require_known(launch, reading)
    findings: list[Finding] = []
    table = cells(source, columns, summing=_summing(reading))
    table["unit"] = _clean_labels(table["unit"], columns.unit, findings)
    table = _with_periods(table, columns, findings)
    _refuse_infinite(table, columns)
    table["value"] = _cell_values(table, columns, reading, findings)
    if table["value"].isna().all():
        raise DataError(f"column {columns.outcome!r} holds no number", code="CB-D004", remedy="check the column's name")
    line = calendar.timeline(list(table["period"]))
    _note_gaps(line, findings)
    units = tuple(sorted(table["unit"].unique()))
    treatment = treatment_of(table, units, line, columns, launch, findings)
    if treatment.first.min() == 0:
        table, units, treatment = _without_always_treated(table, units, treatment, line, findings)
    outcome = _grid(table, units, line)
    _note_missing(table, outcome, columns, findings)
    keep = kept_periods(line, treatment, launch, findings)
    treated = np.arange(len(line.periods)) >= treatment.first[:, None]
    _note_later_launches(units, treated, keep, findings)
    attributes = attributes_of(table, units, line.periods, columns)
    return {
        **attributes,
        "covariates": attributes["covariates"][:, keep],
        "outcome": np.ascontiguousarray(outcome[:, keep]),
        "treated": treated[:, keep],
        "units": units,
        "periods": tuple(period for period, kept in zip(line.periods, keep, strict=True) if kept),
        "metric": reading.metric,
        "unit_name": columns.unit,
        "frequency": line.frequency,
        "season": line.season,
        "additive": reading.aggregate != "mean",
        "findings": tuple(findings),
    }


def _without_always_treated(
    table: pd.DataFrame, units: tuple[str, ...], treatment: Treatment, line: Timeline, findings: list[Finding]
) -> tuple[pd.DataFrame, tuple[str, ...], Treatment]:
    """Drop units that are treated in every period: without a period before the launch they say nothing about it."""
    always = tuple(unit for unit, first in zip(units, treatment.first, strict=True) if first == 0)
    message = f"{len(always)} units are treated from the first period {line.periods[0]} on: {listing(always)}"
    findings.append(
        Finding(code="CB-D023", severity="warning", message=message, action="left out", count=len(always), units=always)
    )
    left = tuple(unit for unit in units if unit not in set(always))
    first = treatment.first[treatment.first > 0]
    return table[table["unit"].isin(left)].reset_index(drop=True), left, replace(treatment, first=first)


def _require_known(launch: LaunchRule, reading: Reading) -> None:
    """Refuse rules that don't exist; a study file has been checked already, a call from Python hasn't."""
    require_one_of("grain", reading.grain, get_args(Grain))
    require_one_of("aggregate", reading.aggregate, get_args(Aggregate))
    require_one_of("on_duplicate", reading.on_duplicate, get_args(OnDuplicate))
    require_one_of("align", launch.align, get_args(Align))
    if reading.grain == "cell" and reading.aggregate == "count":
        raise DataError(
            'aggregate is "count", but each row is a cell already', remedy='set grain = "event" to count rows'
        )
    if launch.anticipation < 0:
        raise DataError(f"anticipation is {launch.anticipation}", code="CB-D062", remedy="give 0 or more periods")


def _summing(reading: Reading) -> bool:
    """Tell whether any cell may be a sum or mean of several rows."""
    return reading.on_duplicate in ("sum", "mean") if reading.grain == "cell" else reading.aggregate != "count"


def _clean_labels(labels: pd.Series[str], column: str, findings: list[Finding]) -> pd.Series[str]:
    """Strip spaces that nobody sees and write letters in one form; two labels that become one are refused."""
    clean = labels.map(lambda label: one_form(label).replace("\u200b", "").strip())
    spellings: dict[str, set[str]] = {}
    for label, tidy in zip(labels, clean, strict=True):
        spellings.setdefault(tidy, set()).add(label)
    pairs = [" and ".join(map(repr, sorted(forms))) for _, forms in sorted(spellings.items()) if len(forms) > 1]
    if pairs:
        raise DataError(
            f"column {column!r} has {len(pairs)} units that differ only in invisible characters: {listing(pairs)}",
            code="CB-D053",
            remedy="write each unit in one way",
        )
    changed = tuple(sorted(set(clean[labels != clean])))
    if changed:
        message = f"{len(changed)} units in column {column!r} carry invisible characters: {listing(map(repr, changed))}"
        findings.append(
            Finding(
                code="CB-D053", severity="info", message=message, action="taken out", count=len(changed), units=changed
            )
        )
    return clean


def _with_periods(table: pd.DataFrame, columns: Columns, findings: list[Finding]) -> pd.DataFrame:
    raw = table["period"].astype(object)
    distinct = list(raw.unique())
    labels, text_format = calendar.read_labels(distinct, column=columns.period)
    if text_format:
        message = f"periods in column {columns.period!r} are text"
        findings.append(Finding(code="CB-D009", severity="info", message=message, action=f"read as {text_format}"))
    label = dict(zip(distinct, labels, strict=True))
    table["period"] = pd.Series([label[value] for value in raw], index=table.index, dtype=object)
    if table.duplicated(["unit", "period"]).any():
        table = _merge_cells(table)
    return table.sort_values(["unit", "period"], ignore_index=True)


def _merge_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Add up cells whose labels turned out to mean the same period (``7`` and ``7.0``)."""
    rule = {name: "sum" for name in ("rows", "missing", "infinite", "total") if name in table}
    rule |= {name: "min" for name in table.columns if name.endswith("low")}
    rule |= {name: "max" for name in table.columns if name.endswith("high")}
    rule |= {name: "sum" for name in table.columns if name.endswith("_missing")}
    return table.groupby(["unit", "period"], as_index=False).agg(rule)


def _refuse_infinite(table: pd.DataFrame, columns: Columns) -> None:
    bad = table[table["infinite"] > 0]
    if len(bad):
        raise DataError(
            f"column {columns.outcome!r} is infinite in {int(bad['infinite'].sum())} rows: {name_cells(bad)}",
            code="CB-D007",
            remedy="correct these values, or leave them empty and choose on_missing",
        )


def _cell_values(table: pd.DataFrame, columns: Columns, reading: Reading, findings: list[Finding]) -> pd.Series[float]:
    if reading.grain == "event":
        return _aggregated(table, reading.aggregate).where((table["missing"] == 0) | (reading.aggregate == "count"))
    repeated = table[table["rows"] > 1]
    if repeated.empty:
        return table["low"].where(table["missing"] == 0)
    conflicting = repeated[(repeated["low"] != repeated["high"]) | repeated["missing"].between(1, repeated["rows"] - 1)]
    _refuse_duplicates(repeated, conflicting, columns, reading.on_duplicate)
    rule = reading.on_duplicate
    findings.append(
        Finding(
            code="CB-D002" if conflicting.empty else "CB-D003",
            severity="warning",
            message=f"{len(repeated)} cells have more than one row: {name_cells(repeated)}",
            action=f'on_duplicate = "{rule}"',
            count=len(repeated),
            units=tuple(sorted(repeated["unit"].unique())),
        )
    )
    values = table["low"] if rule == "exact" else _aggregated(table, "sum" if rule == "sum" else "mean")
    return values.where(table["missing"] == 0)


def _aggregated(table: pd.DataFrame, aggregate: Aggregate) -> pd.Series[float]:
    if aggregate == "count":
        return table["rows"].astype(float)
    return table["total"] if aggregate == "sum" else table["total"] / (table["rows"] - table["missing"]).clip(lower=1)


def _refuse_duplicates(repeated: pd.DataFrame, conflicting: pd.DataFrame, columns: Columns, rule: str) -> None:
    if rule in ("sum", "mean") or (rule == "exact" and conflicting.empty):
        return
    if conflicting.empty:
        raise DataError(
            f"{len(repeated)} cells stand twice with the same {columns.outcome!r}: {name_cells(repeated)}",
            code="CB-D002",
            remedy='[data] on_duplicate = "exact" keeps one row of each',
        )
    raise DataError(
        f"{len(conflicting)} cells have rows that differ in {columns.outcome!r}: {name_cells(conflicting)}",
        code="CB-D003",
        remedy='[data] on_duplicate = "sum" or "mean"; or grain = "event" if each row is an event',
    )


def _note_gaps(line: Timeline, findings: list[Finding]) -> None:
    if line.gaps:
        where = listing((f"{before} to {after}" for before, after in line.gaps), limit=3)
        message = f"nobody has data between {where} (spacing: {line.frequency})"
        action = "kept as they are; nothing is filled in"
        findings.append(
            Finding(code="CB-D039", severity="warning", message=message, action=action, count=len(line.gaps))
        )


def _note_missing(table: pd.DataFrame, outcome: Any, columns: Columns, findings: list[Finding]) -> None:
    empty = table[table["value"].isna()]
    absent = int(np.isnan(outcome).sum()) - len(empty)
    if len(empty):
        message = f"column {columns.outcome!r} is empty in {len(empty)} cells: {name_cells(empty)}"
        units = tuple(sorted(empty["unit"].unique()))
        findings.append(
            Finding(
                code="CB-D004", severity="warning", message=message, action="missing", count=len(empty), units=units
            )
        )
    if absent:
        message = f"{absent} of {outcome.size} cells (unit and period) have no row"
        findings.append(Finding(code="CB-D001", severity="warning", message=message, action="missing", count=absent))


def _note_later_launches(units: tuple[str, ...], treated: BoolArray, keep: BoolArray, findings: list[Finding]) -> None:
    """Say which units launched only in periods that were left out, and so count as not treated."""
    hidden: BoolArray = np.asarray(treated.any(axis=1) & ~treated[:, keep].any(axis=1))
    later = tuple(unit for unit, is_hidden in zip(units, hidden, strict=True) if is_hidden)
    if later:
        message, action = (
            f"{len(later)} units launch after the end of interest: {listing(later)}",
            "used as not treated",
        )
        findings.append(
            Finding(code="CB-D012", severity="warning", message=message, action=action, count=len(later), units=later)
        )


def _grid(table: pd.DataFrame, units: tuple[str, ...], line: Timeline) -> np.ndarray[Any, np.dtype[np.float64]]:
    row = table["unit"].map({unit: i for i, unit in enumerate(units)}).to_numpy(dtype=int)
    column = table["period"].map({period: j for j, period in enumerate(line.periods)}).to_numpy(dtype=int)
    outcome = np.full((len(units), len(line.periods)), np.nan)
    outcome[row, column] = table["value"].to_numpy(dtype=float)
    return outcome
