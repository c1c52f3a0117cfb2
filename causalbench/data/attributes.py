"""What units bring along besides outcome and launch: covariates, weights and clusters, read onto a panel's grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from causalbench.data.calendar import Period
from causalbench.data.reduce import Columns, name_cells, unit_labels
from causalbench.errors import DataError, listing
from causalbench.values import FloatArray


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
        "cluster": _cluster(table, units, columns.cluster),
    }


def _covariates(
    table: pd.DataFrame, units: tuple[str, ...], periods: tuple[Period, ...], names: tuple[str, ...]
) -> FloatArray:
    row = table["unit"].map({unit: i for i, unit in enumerate(units)}).to_numpy(dtype=int)
    column = table["period"].map({period: j for j, period in enumerate(periods)}).to_numpy(dtype=int)
    grid = np.full((len(units), len(periods), len(names)), np.nan)
    for k, name in enumerate(names):
        role = f"covariate_{k}"
        low, high = (table[f"{role}_{side}"].to_numpy(dtype=float, na_value=np.nan) for side in ("low", "high"))
        _refuse(table, (table[f"{role}_missing"] > 0) | ~np.isfinite(low), f"covariate {name!r} is empty or infinite")
        _refuse(table, low != high, f"covariate {name!r} has several values")
        grid[row, column, k] = low
    return grid


def _refuse(table: pd.DataFrame, bad: Any, what: str) -> None:
    if np.any(bad):
        rows = table[np.asarray(bad)]
        raise DataError(
            f"{what} in {len(rows)} cells: {name_cells(rows)}",
            code="CB-D063",
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
    return tuple(unit_labels(_by_unit(table, units, "cluster", name)).to_list())


def _by_unit(table: pd.DataFrame, units: tuple[str, ...], role: str, name: str) -> pd.Series[Any]:
    """Return the one value of each unit; units with several or none are refused."""
    grouped = table.groupby("unit", sort=True)
    low, high = grouped[f"{role}_low"].min(), grouped[f"{role}_high"].max()
    empty = grouped[f"{role}_missing"].sum() > 0
    bad = (empty | (low != high)).reindex(units)
    if bad.any():
        unit = next(unit for unit in units if bad[unit])
        values = listing(map(repr, dict.fromkeys([low[unit], high[unit]]))) + (" and empty" if empty[unit] else "")
        raise DataError(
            f"column {name!r} must be constant within a unit; it isn't in {int(bad.sum())} units, for example {unit!r}: "
            f"{values}",
            code="CB-D046" if role == "cluster" else "CB-D045",
            remedy="give every row of a unit the same value",
        )
    return low.reindex(units)
