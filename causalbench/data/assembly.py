"""From cells to the parts of a panel: duplicates, periods, treatment; every refusal and repair is written down."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pandas as pd

from causalbench.data import calendar
from causalbench.data.attributes import attributes_of, place
from causalbench.data.calendar import Align, Timeline
from causalbench.data.launch import LaunchRule, Treatment, kept_periods, one_form, treatment_of, untreated
from causalbench.data.numerals import is_text
from causalbench.data.outcome import Reading, cell_values, on_scale, refuse_infinite
from causalbench.data.reduce import Columns, cells, name_cells
from causalbench.data.sources import Source
from causalbench.errors import DataError, listing, require_one_of
from causalbench.values import BoolArray, Finding, FloatArray


def assemble(source: Source, columns: Columns, *, launch: LaunchRule | None, reading: Reading) -> dict[str, Any]:
    """Return the fields of a :class:`~causalbench.data.panel.Panel`; without a launch, of a history that nobody is treated in.

    Raises
    ------
    DataError
        With the code of the row in the bad-input catalogue, the units and periods concerned, and the remedy.
    """
    _require_known(launch, columns, reading)
    findings: list[Finding] = []
    table = cells(source, columns, summing=reading.summing(columns))
    _note_numerals(source, columns, findings)
    table["unit"] = _clean_labels(table["unit"], columns.unit, findings)
    table = _with_periods(table, columns, reading.date_format, findings)
    refuse_infinite(table, columns)
    table = cell_values(table, columns, reading, findings)
    if table["value"].isna().all():
        raise DataError(f"column {columns.outcome!r} holds no number", code="CB-D004", remedy="check the column's name")
    table, units, line, treatment = _launched(table, columns, launch, reading.date_format, findings)
    table["value"] = on_scale(table, columns, reading, findings)
    note_gaps(line, findings)
    outcome = _grid(table, units, line)
    _note_missing(table, outcome, columns, findings)
    cost = None if columns.cost is None else _grid(table, units, line, "cost")
    _note_empty_cost(table, columns, findings)
    every = np.ones(len(line.periods), dtype=bool)
    keep = every if launch is None else kept_periods(line, treatment, launch, findings)
    treated = np.arange(len(line.periods)) >= treatment.first[:, None]
    _note_later_launches(units, treated, keep, findings)
    attributes = attributes_of(table, units, line.periods, columns)
    return {
        **attributes,
        "covariates": attributes["covariates"][:, keep],
        "outcome": np.ascontiguousarray(outcome[:, keep]),
        "treated": treated[:, keep],
        "cost": None if cost is None else np.ascontiguousarray(cost[:, keep]),
        "units": units,
        "periods": tuple(period for period, kept in zip(line.periods, keep, strict=True) if kept),
        "metric": reading.metric,
        "unit_name": columns.unit,
        "frequency": line.frequency,
        "season": line.season,
        "additive": reading.aggregate != "mean",
        "scale": reading.effect_scale(columns),
        "findings": tuple(findings),
    }


def _launched(
    table: pd.DataFrame, columns: Columns, launch: LaunchRule | None, date_format: str | None, findings: list[Finding]
) -> tuple[pd.DataFrame, tuple[str, ...], Timeline, Treatment]:
    """Read the launch, dropping units that are always treated and, with them, periods that nobody else has.

    A unit may turn out to be always treated only when the periods of another are gone, hence the loop.
    """
    always: list[str] = []
    while True:
        line = calendar.timeline(list(table["period"]), date_format=date_format)
        units = tuple(sorted(table["unit"].unique()))
        met: list[Finding] = []
        treatment = untreated(units, line) if launch is None else treatment_of(table, units, line, columns, launch, met)
        if treatment.first.min() > 0:
            break
        dropped = {unit for unit, first in zip(units, treatment.first, strict=True) if first == 0}
        always += sorted(dropped)
        table = table[~table["unit"].isin(dropped)].reset_index(drop=True)
    if always:
        message = f"{len(always)} units are treated in every period there is: {listing(always)}"
        names = tuple(always)
        findings.append(
            Finding(
                code="CB-D023", severity="warning", message=message, action="left out", count=len(names), units=names
            )
        )
    findings += met
    return table, units, line, treatment


def _require_known(launch: LaunchRule | None, columns: Columns, reading: Reading) -> None:
    """Refuse rules that don't exist; a study file has been checked already, a call from Python hasn't."""
    reading.require_known(columns)
    if launch is None:
        return
    require_one_of("align", launch.align, get_args(Align))
    if launch.anticipation < 0:
        raise DataError(f"anticipation is {launch.anticipation}", code="CB-D062", remedy="give 0 or more periods")


def _note_numerals(source: Source, columns: Columns, findings: list[Finding]) -> None:
    if columns.numerals is None:
        return
    schema = source.frame.collect_schema()
    read = [name for name in columns.numeric().values() if is_text(schema[name])]
    if read:
        message = f"numbers in {listing(map(repr, dict.fromkeys(read)))} are text"
        action = f"read with {columns.numerals.written()}"
        findings.append(Finding(code="CB-D020", severity="info", message=message, action=action))


def _clean_labels(labels: pd.Series[str], column: str, findings: list[Finding]) -> pd.Series[str]:
    """Strip spaces that nobody sees and write letters in one form; two labels that become one are refused."""
    code, distinct = pd.factorize(labels.to_numpy(dtype=object))
    tidied = np.array([one_form(label).replace("\u200b", "").strip() for label in distinct], dtype=object)
    spellings: dict[str, set[str]] = {}
    for label, tidy in zip(distinct, tidied, strict=True):
        spellings.setdefault(tidy, set()).add(label)
    pairs = [" and ".join(map(repr, sorted(forms))) for _, forms in sorted(spellings.items()) if len(forms) > 1]
    if pairs:
        raise DataError(
            f"column {column!r} has {len(pairs)} units that differ only in invisible characters: {listing(pairs)}",
            code="CB-D053",
            remedy="write each unit in one way",
        )
    changed = tuple(sorted(set(tidied[tidied != distinct])))
    if changed:
        message = f"{len(changed)} units in column {column!r} carry invisible characters: {listing(map(repr, changed))}"
        findings.append(
            Finding(
                code="CB-D053", severity="info", message=message, action="taken out", count=len(changed), units=changed
            )
        )
    return pd.Series(tidied[code], index=labels.index, dtype=object)


def _with_periods(
    table: pd.DataFrame, columns: Columns, date_format: str | None, findings: list[Finding]
) -> pd.DataFrame:
    raw = table["period"].astype(object)
    distinct = list(raw.unique())
    labels, text_format = calendar.read_labels(distinct, column=columns.period, date_format=date_format)
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
    rule = {
        name: "sum"
        for name in ("rows", "missing", "infinite", "total", "denominator_total", "cost_total")
        if name in table
    }
    rule |= {name: "min" for name in table.columns if name.endswith("low")}
    rule |= {name: "max" for name in table.columns if name.endswith("high")}
    rule |= {name: "sum" for name in table.columns if name.endswith("_missing")}
    return table.groupby(["unit", "period"], as_index=False).agg(rule)


def note_gaps(line: Timeline, findings: list[Finding]) -> None:
    """Record where nobody has data for a while."""
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
        what = f"column {columns.outcome!r}" + (f" or {columns.denominator!r}" if columns.denominator else "")
        message = f"{what} is empty in {len(empty)} cells: {name_cells(empty)}"
        units = tuple(sorted(empty["unit"].unique()))
        findings.append(
            Finding(
                code="CB-D004", severity="warning", message=message, action="missing", count=len(empty), units=units
            )
        )
    if absent:
        message = f"{absent} of {outcome.size} cells (unit and period) have no row"
        findings.append(Finding(code="CB-D001", severity="warning", message=message, action="missing", count=absent))


def _note_empty_cost(table: pd.DataFrame, columns: Columns, findings: list[Finding]) -> None:
    empty = table[table["cost"].isna()] if columns.cost is not None else table[:0]
    if len(empty):
        message = f"column {columns.cost!r} is empty in {len(empty)} cells: {name_cells(empty)}"
        units = tuple(sorted(empty["unit"].unique()))
        findings.append(
            Finding(code="CB-D004", severity="info", message=message, action="missing", count=len(empty), units=units)
        )


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


def _grid(table: pd.DataFrame, units: tuple[str, ...], line: Timeline, name: str = "value") -> FloatArray:
    row, column = place(table, units, line.periods)
    grid = np.full((len(units), len(line.periods)), np.nan)
    grid[row, column] = table[name].to_numpy(dtype=float)
    return grid
