"""Aggregation of a table to one row per unit and period, in the table's own engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd

from causalbench.data.calendar import read_label
from causalbench.data.numerals import Numerals, as_numbers, is_text, refuse_text
from causalbench.data.sources import Source, collect, identifier
from causalbench.errors import DataError, listing, nearest

_FINE = 2.0**-32

# A launch given twice has a message of its own.
_MAY_SHARE = (("unit", "cluster"), ("cohort", "cluster"), ("cohort", "treatment"), ("treatment", "cohort"))

Aggregate = Literal["sum", "mean", "count"]
Grain = Literal["cell", "event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns of a table play which role, and how numbers are written in those that are text.

    With a ``denominator`` the outcome of a cell is the sum of ``outcome`` over the sum of ``denominator``. The ``cost`` of a
    cell is reduced like its outcome: summed over the rows of events, whatever the outcome's own aggregate.
    """

    unit: str
    period: str
    outcome: str
    denominator: str | None = None
    cohort: str | None = None
    treatment: str | None = None
    covariates: tuple[str, ...] = ()
    weights: str | None = None
    cluster: str | None = None
    cost: str | None = None
    numerals: Numerals | None = None

    def __post_init__(self) -> None:
        for role in ("unit", "period", "outcome", "treatment", "cohort"):
            column = getattr(self, role)
            others = [other for other, name in self.named().items() if name == column and other != role]
            others = [other for other in others if (role, other) not in _MAY_SHARE]
            if column is not None and others:
                raise DataError(
                    f"column {column!r} is given two roles: {role} and {_said(others[0])}",
                    remedy="name different columns for them",
                )
        if len(set(self.covariates)) < len(self.covariates):
            raise DataError(f"covariates repeat: {listing(self.covariates)}", remedy="name each column once")

    def named(self) -> dict[str, str]:
        """Return the roles in use and their columns; covariates are numbered."""
        roles = ("unit", "period", "outcome", "denominator", "cohort", "treatment", "weights", "cluster", "cost")
        single = {role: column for role in roles if (column := getattr(self, role)) is not None}
        return single | {f"covariate_{i}": column for i, column in enumerate(self.covariates)}

    def carried(self) -> dict[str, str]:
        """Return the roles whose smallest and largest value of every cell are wanted, and their columns."""
        return {role: column for role, column in self.named().items() if role not in ("unit", "period", "outcome")}

    def numeric(self) -> dict[str, str]:
        """Return the roles that need numbers, and their columns."""
        named = self.named().items()
        single = ("outcome", "denominator", "weights", "cost")
        return {role: column for role, column in named if role in single or role.startswith("covariate_")}

    def summed(self) -> tuple[str, ...]:
        """Return the roles in use, besides the outcome, whose rows may be summed."""
        return tuple(role for role in ("denominator", "cost") if getattr(self, role) is not None)

    def as_text(self) -> tuple[str, ...]:
        """Return the columns of a text file whose numbers only the study's own way of writing may read."""
        return tuple(self.numeric().values()) if self.numerals else ()


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
        the outcome and, for each column carried along (denominator, launch, covariates, weights, cluster, cost),
        ``<role>_low``, ``<role>_high`` and ``<role>_missing``; when summing, also ``denominator_total`` and ``cost_total``.
        In no particular order.

    Raises
    ------
    DataError
        For missing columns, a wide table, an empty table, text where numbers belong, empty units or periods.
    """
    schema = source.frame.collect_schema()
    require_columns(source, columns, schema)
    written = require_numbers(source, columns, schema)
    frame = prepared(source, columns, written)
    grids = _grids(frame, source, columns) if summing else {}
    for role, grid in grids.items():
        frame = _split(frame, role, grid)
    reduced = frame.group_by("__unit", "__period").agg(*_measures(columns, written, tuple(grids)))
    table = collect(reduced, source)
    if table.empty:
        raise DataError(
            f"{source.origin} has no rows", code="CB-D033", remedy="check the export or the query's filters"
        )
    _require_keys(source, columns, table)
    for role in written:
        if table[f"{role}_unread"].sum() > 0:
            refuse_written(source, columns, role)
    for role, grid in grids.items():
        coarse, fine = (table[f"{role}_{part}"].astype(float) for part in ("coarse", "fine"))
        table["total" if role == "outcome" else f"{role}_total"] = coarse * grid + fine * (grid * _FINE)
    table = table.rename(columns={"__unit": "unit", "__period": "period"})
    table["unit"] = unit_labels(table["unit"])
    return table.reset_index(drop=True)


def unit_labels(values: pd.Series[str], what: str = "unit") -> pd.Series[str]:
    """Return units or clusters as text; whole numbers stored as floats lose their ``.0``, others are refused."""
    if pd.api.types.is_float_dtype(values.dtype):
        numbers = values.to_numpy(dtype=float)
        if not (np.abs(numbers) < 2**53).all() or (numbers != np.round(numbers)).any():
            raise DataError(
                f"{what}s are stored as floating-point numbers that aren't exact whole numbers",
                code="CB-D052",
                remedy=f"store the {what} column as text",
            )
        code, distinct = pd.factorize(numbers.astype(np.int64))
    else:
        code, distinct = pd.factorize(values.to_numpy(dtype=object))
    return pd.Series(np.array([str(label) for label in distinct], dtype=object)[code], index=values.index, dtype=object)


def prepared(source: Source, columns: Columns, written: tuple[str, ...]) -> nw.LazyFrame[Any]:
    """Select the columns in use and mark what is missing or infinite, so that plain sums and extremes are left to do."""
    frame = _by_role(source, columns)
    for role in written:
        frame = as_numbers(frame, f"__{role}", columns.numerals or Numerals())
    frame = frame.with_columns(nw.col("__outcome").cast(nw.Float64).alias("__value"))
    for role in columns.summed():
        frame = frame.with_columns(nw.col(f"__{role}").cast(nw.Float64))
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


def _grids(prepared: nw.LazyFrame[Any], source: Source, columns: Columns) -> dict[str, float]:
    """Return for each column to be summed a step, a power of two, of which every value is at most 2**32 multiples."""
    roles = {"outcome": "__value"} | {role: f"__{role}" for role in columns.summed()}
    extremes = {
        f"{role}_{side}": getattr(nw.col(name), side)() for role, name in roles.items() for side in ("min", "max")
    }
    found = collect(prepared.select(**extremes), source).abs()
    grids = {}
    for role in roles:
        largest = found[[f"{role}_min", f"{role}_max"]].to_numpy(dtype=float).max()
        usable = np.isfinite(largest) and largest > 0
        grids[role] = float(2.0 ** (np.frexp(largest)[1] - 32)) if usable else 1.0
    return grids


def _split(prepared: nw.LazyFrame[Any], role: str, grid: float) -> nw.LazyFrame[Any]:
    """Write every value as whole multiples of a coarse and a fine step; what is left is below a double's precision."""
    value, coarse, fine = ("__value" if role == "outcome" else f"__{role}"), f"__{role}_coarse", f"__{role}_fine"
    finite = nw.when(nw.col(value).is_finite()).then(nw.col(value)).otherwise(nw.lit(0.0))
    frame = prepared.with_columns((finite / grid).floor().alias(coarse))
    frame = frame.with_columns(((finite - nw.col(coarse) * grid) / (grid * _FINE)).floor().alias(fine))
    return frame.with_columns(nw.col(coarse).cast(nw.Int64), nw.col(fine).cast(nw.Int64))


def _measures(columns: Columns, written: tuple[str, ...], summed: tuple[str, ...]) -> list[nw.Expr]:
    value = nw.col("__value")
    measures = [
        nw.len().alias("rows"),
        nw.col("__missing").sum().alias("missing"),
        nw.col("__infinite").sum().alias("infinite"),
        value.min().alias("low"),
        value.max().alias("high"),
    ]
    parts = [f"{role}_{part}" for role in summed for part in ("coarse", "fine")] + [
        f"{role}_unread" for role in written
    ]
    measures += [nw.col(f"__{part}").sum().alias(part) for part in parts]
    for role in columns.carried():
        cell = nw.col(f"__{role}")
        measures += [cell.min().alias(f"{role}_low"), cell.max().alias(f"{role}_high")]
        measures += [nw.col(f"__{role}_missing").sum().alias(f"{role}_missing")]
    return measures


def require_columns(source: Source, columns: Columns, schema: nw.Schema) -> None:
    """Refuse a table that lacks a column, gives one two roles, or is wide."""
    odd = [name for name in schema if not isinstance(name, str)]
    if odd:
        raise DataError(
            f"{len(odd)} columns have names that aren't text: {listing(map(repr, odd))}",
            code="CB-D032",
            remedy="if they are periods, melt the table to one row per unit and period; else rename them",
        )
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
    problems = "; ".join(f"{_said(role)} column {column!r}{nearest(column, names)}" for role, column in missing.items())
    raise DataError(
        f"{source.origin} lacks {problems}",
        code="CB-D018",
        remedy=f"name one of its columns: {listing(names, limit=20)}",
    )


def _looks_like_period(name: str) -> bool:
    return read_label(name)[0] is not None


def require_numbers(source: Source, columns: Columns, schema: nw.Schema) -> tuple[str, ...]:
    """Refuse text where numbers belong; returns the roles whose text the study says how to read.

    The outcome's problem is told before those of other columns.
    """
    written = []
    for role, name in columns.numeric().items():
        dtype = schema[name]
        if dtype.is_numeric() or dtype == nw.Boolean:
            continue
        if not is_text(dtype):
            _refuse_other(source, columns, role, dtype)
        if columns.numerals is None:
            refuse_written(source, columns, role)
        written.append(role)
    return tuple(written)


def _said(role: str) -> str:
    """Return a role as people call it: covariates without their number."""
    return role.partition("_")[0]


def refuse_written(source: Source, columns: Columns, role: str) -> NoReturn:
    """Refuse a column whose text isn't numbers as the study says they are written."""
    what = f"{_said(role)} column {columns.named()[role]!r}"
    refuse_text(_by_role(source, columns).select(text=nw.col(f"__{role}")), what, columns.numerals)


def _refuse_other(source: Source, columns: Columns, role: str, dtype: nw.dtypes.DType) -> NoReturn:
    """Refuse a column of dates, lists or objects of several types, with three values of it."""
    values = _by_role(source, columns).select(nw.col(f"__{role}")).head(1000).collect(backend="pandas").to_pandas()
    sample = list(values[f"__{role}"].dropna())
    if not sample:
        raise DataError(
            f"{_said(role)} column {columns.named()[role]!r} holds no number",
            code="CB-D004",
            remedy="check the column's name",
        )
    odd = [value for value in sample if not isinstance(value, (int, float))] or sample
    raise DataError(
        f"{_said(role)} column {columns.named()[role]!r} holds no plain numbers ({dtype}), "
        f"for example {', '.join(map(repr, odd[:3]))}",
        code="CB-D020",
        remedy="store plain numbers, in one type",
    )


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
