"""The outcome of every cell: rows aggregated by rule, over a denominator where there is one, or its logarithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from causalbench.data.panel import Scale
from causalbench.data.reduce import Aggregate, Columns, Grain, name_cells
from causalbench.errors import DataError, listing, require_one_of
from causalbench.values import Finding

OnDuplicate = Literal["error", "exact", "sum", "mean"]
Transform = Literal["log"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How rows become cells: labels of periods, aggregation, and the scale of the outcome."""

    grain: Grain
    aggregate: Aggregate
    on_duplicate: OnDuplicate
    metric: str
    scale: Literal["linear", "log"] = "linear"
    transform: Transform | None = None
    date_format: str | None = None

    def require_known(self, columns: Columns) -> None:
        """Refuse rules that don't exist or go together; a study file has been checked already, a call from Python hasn't."""
        require_one_of("grain", self.grain, get_args(Grain))
        require_one_of("aggregate", self.aggregate, get_args(Aggregate))
        require_one_of("on_duplicate", self.on_duplicate, get_args(OnDuplicate))
        require_one_of("scale", self.scale, ("linear", "log"))
        if self.transform is not None:
            require_one_of("transform", self.transform, get_args(Transform))
        if self.scale == "log" and (self.transform or columns.denominator):
            raise DataError(
                'scale = "log" says that the column holds logarithms already',
                code="CB-D060",
                remedy="leave scale out, or transform and denominator",
            )
        if self.grain == "cell" and self.aggregate == "count":
            raise DataError(
                'aggregate is "count", but each row is a cell already', remedy='set grain = "event" to count rows'
            )
        if columns.denominator is not None and self.aggregate != "sum":
            raise DataError(
                f'aggregate is "{self.aggregate}", but a denominator makes the outcome a ratio of sums',
                remedy='leave aggregate out, it is "sum"',
            )

    def summing(self, columns: Columns) -> bool:
        """Tell whether any cell may be a sum or mean of several rows."""
        if self.grain == "cell":
            return self.on_duplicate in ("sum", "mean")
        return self.aggregate != "count" or bool(columns.summed())

    def effect_scale(self, columns: Columns) -> Scale:
        """Return the scale on which effects are measured."""
        return self.transform or (self.scale if columns.denominator is None else "ratio")


def refuse_infinite(table: pd.DataFrame, columns: Columns) -> None:
    """Refuse infinite values of the outcome, its denominator or the cost, by cell."""
    counts = {columns.outcome: table["infinite"]}
    for role in columns.summed():
        ends = table[[f"{role}_low", f"{role}_high"]].to_numpy(dtype=float, na_value=np.nan)
        counts[getattr(columns, role)] = pd.Series(np.isinf(ends).any(axis=1).astype(int), index=table.index)
    for column, count in counts.items():
        bad = table[count > 0]
        if len(bad):
            raise DataError(
                f"column {column!r} is infinite in {int(count.sum())} rows: {name_cells(bad)}",
                code="CB-D007",
                remedy="correct these values, or leave them empty and choose on_missing",
            )


def cell_values(table: pd.DataFrame, columns: Columns, reading: Reading, findings: list[Finding]) -> pd.DataFrame:
    """Return the table with ``value``, and ``over`` and ``cost`` where there are such columns; NaN in cells with an empty row."""
    if reading.grain == "event":
        full = (table["missing"] == 0) | (reading.aggregate == "count")
        parts = {
            role: _aggregated(table, role, "sum" if role == "cost" else reading.aggregate) for role in _roles(columns)
        }
    else:
        full = table["missing"] == 0
        rule = _rule_for_repeated(table, columns, reading.on_duplicate, findings)
        parts = {
            role: _low(table, role) if rule == "exact" else _aggregated(table, role, rule) for role in _roles(columns)
        }
    if columns.denominator is not None:
        full &= table["denominator_missing"] == 0
    known = {"outcome": full, "denominator": full, "cost": table["cost_missing"] == 0 if "cost" in parts else full}
    names = {"outcome": "value", "denominator": "over", "cost": "cost"}
    return table.assign(**{names[role]: values.where(known[role]) for role, values in parts.items()})


def on_scale(table: pd.DataFrame, columns: Columns, reading: Reading, findings: list[Finding]) -> pd.Series[float]:
    """Return the cells' values divided by their denominators and on the scale of the study, and say what that means.

    Raises
    ------
    DataError
        Where a denominator isn't positive, or a logarithm doesn't exist.
    """
    values, what = table["value"], f"{columns.outcome!r}"
    if columns.denominator is not None:
        _refuse_denominators(table, columns.denominator)
        values, what = values / table["over"], f"the sum of {what} over that of {columns.denominator!r}"
        message = f"the outcome of every cell is {what}"
        action = "parallel trends then means equal changes of this ratio, whatever the units' sizes"
        findings.append(Finding(code="CB-D061", severity="warning", message=message, action=action))
    if reading.transform == "log":
        _refuse_logarithms(table.assign(value=values), what)
        values, what = np.log(values), f"the natural log of {what}"
    if reading.effect_scale(columns) == "log":
        message = f"the outcome is {what}, so effects are in log points"
        action = "parallel trends then means equal growth rates, not equal changes in units"
        findings.append(Finding(code="CB-D060", severity="warning", message=message, action=action))
    return values


def _roles(columns: Columns) -> tuple[str, ...]:
    return ("outcome", *columns.summed())


def _low(table: pd.DataFrame, role: str) -> pd.Series[float]:
    return table["low" if role == "outcome" else f"{role}_low"].astype(float)


def _aggregated(table: pd.DataFrame, role: str, aggregate: str) -> pd.Series[float]:
    prefix = "" if role == "outcome" else f"{role}_"
    if aggregate == "count":
        return table["rows"].astype(float)
    total: pd.Series[float] = table[f"{prefix}total"]
    return total if aggregate == "sum" else total / (table["rows"] - table[f"{prefix}missing"]).clip(lower=1)


def _rule_for_repeated(
    table: pd.DataFrame, columns: Columns, on_duplicate: OnDuplicate, findings: list[Finding]
) -> Literal["exact", "sum", "mean"]:
    """Return how cells become values: their one row, unless some have more and the study has a rule for them."""
    repeated = table[table["rows"] > 1]
    if repeated.empty:
        return "exact"
    conflict = pd.Series(data=False, index=repeated.index)
    for role in _roles(columns):
        low, high, missing = ("" if role == "outcome" else f"{role}_" for _ in range(3))
        n_missing = repeated[f"{missing}missing"]
        conflict |= (repeated[f"{low}low"] != repeated[f"{high}high"]) & (n_missing < repeated["rows"])
        conflict |= (n_missing > 0) & (n_missing < repeated["rows"])
    conflicting = repeated[conflict]
    _refuse_duplicates(repeated, conflicting, columns, on_duplicate)
    findings.append(
        Finding(
            code="CB-D002" if conflicting.empty else "CB-D003",
            severity="warning",
            message=f"{len(repeated)} cells have more than one row: {name_cells(repeated)}",
            action=f'on_duplicate = "{on_duplicate}"',
            count=len(repeated),
            units=tuple(sorted(repeated["unit"].unique())),
        )
    )
    return "exact" if on_duplicate == "error" else on_duplicate


def _refuse_duplicates(repeated: pd.DataFrame, conflicting: pd.DataFrame, columns: Columns, rule: str) -> None:
    if rule in ("sum", "mean") or (rule == "exact" and conflicting.empty):
        return
    what = " or ".join(repr(columns.named()[role]) for role in _roles(columns))
    if conflicting.empty:
        raise DataError(
            f"{len(repeated)} cells stand twice with the same {what}: {name_cells(repeated)}",
            code="CB-D002",
            remedy='[data] on_duplicate = "exact" keeps one row of each',
        )
    raise DataError(
        f"{len(conflicting)} cells have rows that differ in {what}: {name_cells(conflicting)}",
        code="CB-D003",
        remedy='[data] on_duplicate = "sum" or "mean"; or grain = "event" if each row is an event',
    )


def _refuse_denominators(table: pd.DataFrame, denominator: str) -> None:
    bad = table[table["over"] <= 0]
    if len(bad):
        raise DataError(
            f"the denominator {denominator!r} is zero or negative in {len(bad)} cells: {_with_values(bad, 'over')}",
            code="CB-D061",
            remedy="leave these units or periods out, aggregate to longer periods, or use the level of the outcome instead",
        )


def _refuse_logarithms(table: pd.DataFrame, what: str) -> None:
    bad = table[table["value"] <= 0]
    if len(bad):
        raise DataError(
            f"{what} is zero or negative in {len(bad)} cells, which have no logarithm: {_with_values(bad, 'value')}",
            code="CB-D060",
            remedy="leave transform out (effects in units), or give a denominator (effects on a ratio); adding a constant "
            "before the logarithm would change what is estimated",
        )


def _with_values(rows: pd.DataFrame, name: str) -> str:
    cells = zip(rows["unit"], rows["period"], rows[name], strict=True)
    return listing(f"{unit} at {period} ({value:g})" for unit, period, value in cells)
