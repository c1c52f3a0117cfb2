"""Aggregation of a table to one row per unit and period, in the table's own engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd

from causalbench.data.calendar import read_label
from causalbench.data.sources import Source, collect, identifier
from causalbench.errors import DataError, listing, nearest

_FINE = 2.0**-32

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
    covariates: tuple[str, ...] = ()
    weights: str | None = None
    cluster: str | None = None

    def named(self) -> dict[str, str]:
        """Return the roles in use and their columns; covariates are numbered."""
        roles = ("unit", "period", "outcome", "cohort", "treatment", "weights", "cluster")
        single = {role: column for role in roles if (column := getattr(self, role)) is not None}
        return single | {f"covariate_{i}": column for i, column in enumerate(self.covariates)}

    def carried(self) -> dict[str, str]:
        """Return the roles whose smallest and largest value of every cell are wanted, and their columns."""
        return {role: column for role, column in self.named().items() if role not in ("unit", "period", "outcome")}


def cells(source: Source, columns: Columns, *, summing: bool) -> pd.DataFrame:
    """Reduce a table to its cells.

    Parameters
    ----------
    source, columns
        The table and the roles of its columns.
    summing
        Whether a cell may need the sum of its rows. Sums are formed of whole multiples of a fixed step, so that neither
        the order of rows nor the number of threads changes a bit of them.

    Returns
    -------
    pandas.DataFrame
        One row per raw (unit, period) with ``rows``, ``missing``, ``infinite``, ``low``, ``high`` and, when summing, ``total`` of
        the outcome and, for each column carried along (launch, covariates, weights, cluster), ``<role>_low``, ``<role>_high`` and
        ``<role>_missing``; in no particular order.

    Raises
    ------
    DataError
        For missing columns, a wide table, an empty table, text where numbers belong, empty units or periods.
    """
    schema = source.frame.collect_schema()
    odd = [name for name in schema if not isinstance(name, str)]
    if odd:
        raise DataError(
            f"{len(odd)} columns have names that aren't text: {listing(map(repr, odd))}",
            code="CB-D032",
            remedy="if they are periods, melt the table to one row per unit and period; else rename them",
        )
    _require_columns(source, columns, schema)
    roles = (columns.unit, columns.period, columns.outcome)
    if len(set(roles)) < len(roles):
        raise DataError("one column is given two roles", remedy="name different columns for unit, period and outcome")
    _require_numbers(source, columns, schema)
    prepared = _prepared(source, columns)
    grid = _grid(prepared, source) if summing else None
    if grid is not None:
        prepared = _split(prepared, grid)
    reduced = prepared.group_by("__unit", "__period").agg(*_measures(columns, summing=summing))
    table = collect(reduced, source)
    if table.empty:
        raise DataError(
            f"{source.origin} has no rows", code="CB-D033", remedy="check the export or the query's filters"
        )
    _require_keys(source, columns, table)
    if grid is not None:
        table["total"] = table["coarse"].astype(float) * grid + table["fine"].astype(float) * (grid * _FINE)
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
    frame = _by_role(source, columns).with_columns(nw.col("__outcome").cast(nw.Float64).alias("__value"))
    schema = frame.collect_schema()
    for role in columns.carried():
        cell = nw.col(f"__{role}")
        if schema[f"__{role}"].is_float():
            frame = frame.with_columns(nw.when(~cell.is_nan()).then(cell).alias(f"__{role}"))
        elif schema[f"__{role}"] in (nw.Categorical, nw.Enum):
            frame = frame.with_columns(cell.cast(nw.String).alias(f"__{role}"))
    value = nw.col("__value")
    frame = frame.with_columns(nw.when(~value.is_nan()).then(value).alias("__value"))
    frame = frame.with_columns(
        value.is_null().cast(nw.Int64).alias("__missing"),
        nw.when(value.is_finite()).then(nw.lit(0)).otherwise(nw.lit(1)).alias("__infinite"),
    )
    return frame.with_columns(
        (nw.col("__infinite") - nw.col("__missing")).alias("__infinite"),
        *(nw.col(f"__{role}").is_null().cast(nw.Int64).alias(f"__{role}_missing") for role in columns.carried()),
    )


def _by_role(source: Source, columns: Columns) -> nw.LazyFrame[Any]:
    """Rename the columns in use to their roles; DuckDB parses names given to narwhals, so there SQL does it."""
    native = source.frame.to_native()
    if isinstance(native, duckdb.DuckDBPyRelation):
        renamed = ", ".join(f'{identifier(column)} AS "__{role}"' for role, column in columns.named().items())
        return nw.from_native(native.project(renamed)).lazy()
    return source.frame.select(*(nw.col(column).alias(f"__{role}") for role, column in columns.named().items()))


def _grid(prepared: nw.LazyFrame[Any], source: Source) -> float:
    """Return a step, a power of two, of which every value is at most 2**32 multiples."""
    value = nw.col("__value")
    largest = collect(prepared.select(low=value.min(), high=value.max()), source).abs().to_numpy(dtype=float).max()
    return float(2.0 ** (np.frexp(largest)[1] - 32)) if np.isfinite(largest) and largest > 0 else 1.0


def _split(prepared: nw.LazyFrame[Any], grid: float) -> nw.LazyFrame[Any]:
    """Write every value as whole multiples of a coarse and a fine step; what is left is below a double's precision."""
    finite = nw.when(nw.col("__value").is_finite()).then(nw.col("__value")).otherwise(nw.lit(0.0))
    frame = prepared.with_columns((finite / grid).floor().alias("__coarse"))
    frame = frame.with_columns(((finite - nw.col("__coarse") * grid) / (grid * _FINE)).floor().alias("__fine"))
    return frame.with_columns(nw.col("__coarse").cast(nw.Int64), nw.col("__fine").cast(nw.Int64))


def _measures(columns: Columns, *, summing: bool) -> list[nw.Expr]:
    value = nw.col("__value")
    measures = [
        nw.len().alias("rows"),
        nw.col("__missing").sum().alias("missing"),
        nw.col("__infinite").sum().alias("infinite"),
        value.min().alias("low"),
        value.max().alias("high"),
    ]
    if summing:
        measures += [nw.col("__coarse").sum().alias("coarse"), nw.col("__fine").sum().alias("fine")]
    for role in columns.carried():
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
    return read_label(name)[0] is not None


def _require_numbers(source: Source, columns: Columns, schema: nw.Schema) -> None:
    """Refuse text where numbers belong; the outcome's problem is told before those of other columns."""
    for role, name in columns.named().items():
        if role in ("outcome", "weights") or role.startswith("covariate_"):
            _require_number(source, role.partition("_")[0], name, schema[name])


def _require_number(source: Source, role: str, name: str, dtype: nw.dtypes.DType) -> None:
    if dtype.is_numeric() or dtype == nw.Boolean:
        return
    column = nw.col(name)
    sample = source.frame.select(column).filter(~column.is_null()).head(1000).collect(backend="pandas").to_pandas()
    texts = [value for value in sample[name] if not _is_number(value)] or list(sample[name])
    raise DataError(
        f"{role} column {name!r} holds no plain numbers ({dtype}), for example {', '.join(map(repr, texts[:3]))}",
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
