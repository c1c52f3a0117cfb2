"""Aggregation of a table to one row per unit and period, in the table's own engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import narwhals as nw
import numpy as np
import pandas as pd

from causalbench.data.sources import Source
from causalbench.errors import DataError, listing, nearest

Aggregate = Literal["sum", "mean", "count"]
Grain = Literal["cell", "event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns of a table play which role."""

    unit: str
    period: str
    outcome: str
    cohort: str | None = None
    treatment: str | None = None

    def named(self) -> dict[str, str]:
        """Return the roles in use and their columns."""
        roles = {role: getattr(self, role) for role in self.__slots__}
        return {role: column for role, column in roles.items() if column is not None}


def cells(source: Source, columns: Columns) -> pd.DataFrame:
    """Reduce a table to its cells.

    Returns
    -------
    pandas.DataFrame
        One row per raw (unit, period) with ``rows``, ``missing``, ``infinite``, ``total``, ``low``, ``high`` of the
        outcome and, where given, ``cohort_low``, ``cohort_high``, ``cohort_missing``, ``treatment_low``,
        ``treatment_high``, ``treatment_missing``. Sorted, so the order of the table's rows leaves no trace.

    Raises
    ------
    DataError
        For missing columns, a wide table, an empty table, text where numbers belong, empty units or periods.
    """
    schema = source.frame.collect_schema()
    _require_columns(source, columns, schema)
    _require_numbers(source, columns, schema)
    reduced = _prepared(source, columns).group_by("__unit", "__period").agg(*_measures(columns))
    table = reduced.collect(backend="pandas").to_pandas()
    if table.empty:
        raise DataError(
            f"{source.origin} has no rows", code="CB-D033", remedy="check the export or the query's filters"
        )
    _require_keys(source, columns, table)
    table = table.rename(columns={"__unit": "unit", "__period": "period"})
    table["unit"] = unit_labels(table["unit"])
    return table.reset_index(drop=True)


def unit_labels(values: pd.Series[str]) -> pd.Series[str]:
    """Return units as text; whole numbers stored as floats lose their ``.0``, others are refused."""
    if pd.api.types.is_float_dtype(values.dtype):
        numbers = values.to_numpy(dtype=float)
        if not (np.abs(numbers) < 2**53).all() or (numbers != np.round(numbers)).any():
            raise DataError(
                "units are stored as floating-point numbers that aren't exact whole numbers",
                code="CB-D052",
                remedy="store the unit column as text",
            )
        return pd.Series(numbers.astype(np.int64).astype(str), index=values.index, dtype=object)
    return values.astype(object).map(str)


def _prepared(source: Source, columns: Columns) -> nw.LazyFrame[Any]:
    """Select the columns in use and mark what is missing or infinite, so that plain sums and extremes are left to do."""
    frame = source.frame.select(
        nw.col(columns.unit).alias("__unit"),
        nw.col(columns.period).alias("__period"),
        nw.col(columns.outcome).cast(nw.Float64).alias("__value"),
        *(nw.col(column).alias(f"__{role}") for role, column in _launch_columns(columns).items()),
    )
    value = nw.col("__value")
    frame = frame.with_columns(nw.when(~value.is_nan()).then(value).alias("__value"))
    frame = frame.with_columns(
        value.is_null().cast(nw.Int64).alias("__missing"),
        nw.when(value.is_finite()).then(nw.lit(0)).otherwise(nw.lit(1)).alias("__infinite"),
    )
    return frame.with_columns(
        (nw.col("__infinite") - nw.col("__missing")).alias("__infinite"),
        *(nw.col(f"__{role}").is_null().cast(nw.Int64).alias(f"__{role}_missing") for role in _launch_columns(columns)),
    )


def _launch_columns(columns: Columns) -> dict[str, str]:
    return {role: column for role, column in columns.named().items() if role in ("cohort", "treatment")}


def _measures(columns: Columns) -> list[nw.Expr]:
    value = nw.col("__value")
    measures = [
        nw.len().alias("rows"),
        nw.col("__missing").sum().alias("missing"),
        nw.col("__infinite").sum().alias("infinite"),
        value.sum().alias("total"),
        value.min().alias("low"),
        value.max().alias("high"),
    ]
    for role in _launch_columns(columns):
        cell = nw.col(f"__{role}")
        measures += [cell.min().alias(f"{role}_low"), cell.max().alias(f"{role}_high")]
        measures += [nw.col(f"__{role}_missing").sum().alias(f"{role}_missing")]
    return measures


def _require_columns(source: Source, columns: Columns, schema: nw.Schema) -> None:
    names = list(schema)
    missing = {role: column for role, column in columns.named().items() if column not in names}
    if not missing:
        return
    wide = [name for name in names if _looks_like_period(name)]
    if len(wide) >= 3 and {"period", "outcome"} & missing.keys():
        ids = [name for name in names if name not in wide]
        raise DataError(
            f"{source.origin} is wide: {len(wide)} columns look like periods ({listing(wide, limit=3)})",
            code="CB-D032",
            remedy=f"make it long first: table.melt(id_vars={ids!r}, var_name={columns.period!r}, "
            f"value_name={columns.outcome!r})",
        )
    problems = "; ".join(f"{role} column {column!r}{nearest(column, names)}" for role, column in missing.items())
    raise DataError(
        f"{source.origin} lacks {problems}",
        code="CB-D018",
        remedy=f"name one of its columns: {listing(names, limit=20)}",
    )


def _looks_like_period(name: str) -> bool:
    try:
        pd.Timestamp(name)
    except (ValueError, TypeError):
        return False
    return name[:1].isdigit()


def _require_numbers(source: Source, columns: Columns, schema: nw.Schema) -> None:
    dtype = schema[columns.outcome]
    if dtype.is_numeric() or dtype == nw.Boolean:
        return
    column = nw.col(columns.outcome)
    sample = source.frame.select(column).filter(~column.is_null()).head(1000).collect(backend="pandas").to_pandas()
    texts = [value for value in sample[columns.outcome] if not _is_number(value)] or list(sample[columns.outcome])
    raise DataError(
        f"outcome column {columns.outcome!r} holds text ({dtype}), for example {', '.join(map(repr, texts[:3]))}",
        code="CB-D020",
        remedy="store plain numbers: no thousands separators, signs of currency or percent",
    )


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _require_keys(source: Source, columns: Columns, table: pd.DataFrame) -> None:
    for role, code, other in (("unit", "CB-D005", "period"), ("period", "CB-D006", "unit")):
        empty = table[f"__{role}"].isna() | (table[f"__{role}"].astype(str).str.strip() == "")
        if empty.any():
            column = getattr(columns, role)
            where = sorted(map(str, table.loc[empty, f"__{other}"]))
            raise DataError(
                f"{source.origin}: column {column!r} is empty in {int(table.loc[empty, 'rows'].sum())} rows, at row "
                f"{listing(_rows_where_empty(source, column))} (at {other} {listing(where)})",
                code=code,
                remedy=f"fill in {column!r} or remove these rows",
            )


def _rows_where_empty(source: Source, column: str) -> list[int]:
    """Return the first few positions (1 = first row of data); only asked for when a refusal is certain."""
    value = source.frame.select(nw.col(column)).collect(backend="pandas").to_pandas()[column]
    empty = value.isna() | (value.astype(str).str.strip() == "")
    return [int(position) + 1 for position in np.flatnonzero(empty.to_numpy())]


def name_cells(rows: pd.DataFrame) -> str:
    """Name the first few cells by unit and period."""
    return listing(f"{unit} at {period}" for unit, period in zip(rows["unit"], rows["period"], strict=True))
