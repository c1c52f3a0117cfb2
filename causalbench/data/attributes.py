"""What units bring along besides outcome and launch: covariates, weights and clusters, read onto a panel's grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from causalbench.data.calendar import Period
from causalbench.data.launch import one_form
from causalbench.data.reduce import Columns, name_cells, unit_labels
from causalbench.errors import DataError, listing
from causalbench.values import FloatArray, IntArray


def attributes_of(
    table: pd.DataFrame, units: tuple[str, ...], periods: tuple[Period, ...], columns: Columns
) -> dict[str, Any]:
    """Return the panel's fields ``covariates``, ``covariate_names``, ``weights`` and ``cluster``.

    Raises
    ------
    DataError
        When one contradicts itself, is empty, or can't be what it is said to be; with column, units and remedy.
    """
    return {
        "covariates": _covariates(table, units, periods, columns.covariates),
        "covariate_names": columns.covariates,
        "weights": _weights(table, units, columns.weights),
        "cluster": None if columns.cluster == columns.unit else _cluster(table, units, columns.cluster),
    }


def _covariates(
    table: pd.DataFrame, units: tuple[str, ...], periods: tuple[Period, ...], names: tuple[str, ...]
) -> FloatArray:
    grid = np.full((len(units), len(periods), len(names)), np.nan)
    if not names:
        return grid
    row, column = place(table, units, periods)
    for k, name in enumerate(names):
        role = f"covariate_{k}"
        low, high = (table[f"{role}_{side}"].to_numpy(dtype=float, na_value=np.nan) for side in ("low", "high"))
        empty = np.isnan(low)
        _refuse(table, ~empty & ~np.isfinite(low), f"covariate {name!r} is infinite")
        _refuse(
            table, ~empty & ((low != high) | (table[f"{role}_missing"] > 0)), f"covariate {name!r} has several values"
        )
        grid[row, column, k] = low
    return grid


def place(table: pd.DataFrame, units: tuple[str, ...], periods: tuple[Period, ...]) -> tuple[IntArray, IntArray]:
    """Return the row and column of every cell on the panel's grid."""
    unit, named = pd.factorize(table["unit"].to_numpy(dtype=object))
    period, dated = pd.factorize(table["period"].to_numpy(dtype=object))
    rows, columns = ({label: i for i, label in enumerate(labels)} for labels in (units, periods))
    return np.array([rows[label] for label in named])[unit], np.array([columns[label] for label in dated])[period]


def _refuse(table: pd.DataFrame, bad: Any, what: str) -> None:
    if np.any(bad):
        rows = table[np.asarray(bad)]
        raise DataError(
            f"{what} in {len(rows)} cells: {name_cells(rows)}",
            code="CB-D042",
            remedy="fill in one number for every row, or leave this covariate out",
        )


def _weights(table: pd.DataFrame, units: tuple[str, ...], name: str | None) -> FloatArray | None:
    if name is None:
        return None
    low = _by_unit(table, units, "weights", name)
    values = low.to_numpy(dtype=float)
    bad = ~np.isfinite(values) | (values <= 0)
    if bad.any():
        found = listing(f"{unit} ({value:g})" for unit, value in zip(low.index[bad], values[bad], strict=True))
        raise DataError(
            f"weights in column {name!r} must be positive numbers; they aren't in {int(bad.sum())} units: {found}",
            code="CB-D045",
            remedy="correct them, or remove these units",
        )
    return values


def _cluster(table: pd.DataFrame, units: tuple[str, ...], name: str | None) -> tuple[str, ...] | None:
    if name is None:
        return None
    labels = unit_labels(_by_unit(table, units, "cluster", name), "cluster")
    clean = labels.map(lambda label: one_form(label).replace("\u200b", "").strip())
    _refuse_units(clean.index[clean == ""], f"cluster column {name!r} is empty in", "CB-D046")
    spellings = labels.groupby(clean).unique()
    several = [" and ".join(map(repr, sorted(forms))) for forms in spellings if len(forms) > 1]
    if several:
        raise DataError(
            f"column {name!r} has {len(several)} clusters that differ only in invisible characters: {listing(several)}",
            code="CB-D046",
            remedy="write each cluster in one way",
        )
    return tuple(clean.to_list())


def _refuse_units(bad: pd.Index[Any], what: str, code: str) -> None:
    if len(bad):
        raise DataError(
            f"{what} rows of {len(bad)} units: {listing(bad)}",
            code=code,
            remedy="give every row of a unit the same value, or remove these units",
        )


def _by_unit(table: pd.DataFrame, units: tuple[str, ...], role: str, name: str) -> pd.Series[Any]:
    """Return the one value of each unit; units with several or none are refused."""
    code = "CB-D046" if role == "cluster" else "CB-D045"
    grouped = table.groupby("unit", sort=True)
    empty = (grouped[f"{role}_missing"].sum() > 0).reindex(units)
    _refuse_units(empty.index[empty], f"{role} column {name!r} is empty in", code)
    low, high = grouped[f"{role}_low"].min().reindex(units), grouped[f"{role}_high"].max().reindex(units)
    bad = low != high
    if bad.any():
        unit = str(bad.index[bad][0])
        found = " and ".join(
            repr(value.item() if hasattr(value, "item") else value) for value in (low[unit], high[unit])
        )
        raise DataError(
            f"{role} column {name!r} must be constant within a unit; it isn't in {int(bad.sum())} units, for example "
            f"{unit!r}: {found}",
            code=code,
            remedy="give every row of a unit the same value",
        )
    return low
