"""Sums by cohort that a table's own engine forms: rows to one row per unit, units to sums and sums of products.

The unit stage needs one sum per period and unit. Where rows of a unit lie scattered, every thread holds nearly all units,
so an engine with a fixed amount of memory is given the units in slices; a Parquet file is scanned again much faster than
such states are written to disk and merged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import narwhals as nw
import numpy as np

from causalbench.data.sources import Source, byte_count, collect
from causalbench.values import FloatArray, IntArray

EMPTY, REPEATED, SWITCHING, INCOMPLETE, TREATED_INCOMPLETE = -1, -2, -3, -4, -5
"""Codes of units that belong to no cohort: without a name, with a cell twice, without one launch, with cells missing."""

MOST_PERIODS = 104
_STATE_BYTES = 3 * 2**29
_MOST_SMALL_PARTS = 16
_SHARE = 0.4
_ROUNDING = 1e-11


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitStage:
    """How rows become one row per unit.

    Attributes
    ----------
    frame
        Prepared rows with ``__unit``, ``__period``, ``__value`` and ``__cohort`` or ``__treatment``.
    raw_periods
        The labels that mean each period, in the column's own type.
    centres
        What is taken off every value of a period, shape (n_periods,).
    first_of
        First treated period, as an index, of the values of the cohort column; None with a treatment column.
    n_units
        About how many units there are.
    """

    frame: nw.LazyFrame[Any]
    raw_periods: tuple[tuple[Any, ...], ...]
    centres: FloatArray
    first_of: Mapping[int, tuple[Any, ...]] | None
    n_units: int

    @property
    def n_periods(self) -> int:
        """Number of periods."""
        return len(self.raw_periods)

    def values(self) -> list[str]:
        """Return the names of the columns that hold a unit's centred value of each period."""
        return [f"__y{j}" for j in range(self.n_periods)]

    def slices(self) -> Iterator[nw.LazyFrame[Any]]:
        """Yield frames with one row per unit: ``__rows``, ``__filled``, ``__first``, ``__switches`` and the values."""
        for part in _parts(self.frame, self.n_units * (16 * self.n_periods + 128)):
            yield self._launched(self._pivoted(part))

    def _pivoted(self, rows: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
        period, value = nw.col("__period"), nw.col("__value")
        cells = [
            nw.when(_is(period, raw)).then(value - float(centre)).alias(name)
            for name, raw, centre in zip(self.values(), self.raw_periods, self.centres, strict=True)
        ]
        measures = [nw.len().alias("__rows"), value.count().alias("__filled")]
        if self.first_of is not None:
            cohort = nw.col("__cohort")
            measures += [cohort.min().alias("__low"), cohort.max().alias("__high"), cohort.count().alias("__given")]
        else:
            index = _coded(period, dict(enumerate(self.raw_periods)), default=self.n_periods)
            on = nw.col("__treatment").cast(nw.Float64) == 1
            cells += [nw.when(on).then(index).alias("__on"), nw.when(~on).then(index).alias("__off")]
            measures += [nw.col("__on").min(), nw.col("__off").max()]
        # Last and in order, as every row touches all of the others and one of these. A cell has one row, or its unit is
        # refused: the largest is the sum, and is null where there is none.
        measures += [nw.col(name).max() for name in self.values()]
        return rows.with_columns(*cells).group_by("__unit").agg(*measures)

    def _launched(self, units: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
        if self.first_of is None:
            on, off = nw.col("__on"), nw.col("__off")
            never = nw.when(on.is_null()).then(nw.lit(self.n_periods)).otherwise(on)
            switches = nw.when(off > on).then(nw.lit(1)).otherwise(nw.lit(0))
            return units.with_columns(never.alias("__first"), switches.alias("__switches"))
        low, given = nw.col("__low"), nw.col("__given")
        varies = (low != nw.col("__high")) | (given < nw.col("__rows"))
        return units.with_columns(
            _coded(low, self.first_of, default=self.n_periods).alias("__first"),
            nw.when((given > 0) & varies).then(nw.lit(1)).otherwise(nw.lit(0)).alias("__switches"),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """Sums over the units of every code, ascending; codes from 0 on are first treated periods.

    Attributes
    ----------
    codes, counts, filled
        Code, number of units, number of their cells with a value; shape (n_codes,).
    totals, products
        Sums of centred values, shape (n_codes, n_periods), and of their products, shape (n_codes, n_periods, n_periods).
    centres
        What was taken off the values, shape (n_codes, n_periods).
    """

    codes: IntArray
    counts: IntArray
    filled: IntArray
    totals: FloatArray
    products: FloatArray
    centres: FloatArray

    def of(self, code: int) -> int:
        """Return the number of units of a code."""
        return int(self.counts[self.codes == code].sum())

    def means(self) -> FloatArray:
        """Return the mean of every code and period."""
        return self.centres + self._offsets()

    def scatter(self) -> FloatArray:
        """Return the sums of products of deviations from the mean."""
        offsets = self._offsets()
        scatter = self.products - self.counts[:, None, None] * offsets[:, :, None] * offsets[:, None, :]
        scatter[self.counts == 1] = 0.0
        return np.asarray(scatter)

    def cancels(self) -> bool:
        """Tell whether centres lie so far from the means that a scatter has lost digits."""
        own = (self.codes >= 0) & (self.counts > 1)
        counts, spread = self.counts[own], np.diagonal(self.scatter(), axis1=1, axis2=2)[own]
        lost = counts[:, None] * self._offsets()[own] ** 2 * np.finfo(float).eps * np.sqrt(counts)[:, None]
        return bool((lost > _ROUNDING * spread).any())

    def _offsets(self) -> FloatArray:
        return np.asarray(self.totals / self.counts[:, None])


def cohort_sums(stage: UnitStage, source: Source) -> Sums:
    """Sum values and their products by cohort; once more about the cohorts' own means where the first centres lie far off."""
    sums = _summed(stage, source, {})
    if not sums.cancels():
        return sums
    shifts = sums.means() - stage.centres
    return _summed(
        stage, source, {int(code): shift for code, shift in zip(sums.codes, shifts, strict=True) if code >= 0}
    )


def named_units(stage: UnitStage, source: Source, flag: nw.Expr, *, limit: int = 5) -> list[Any]:
    """Return the first units for which an expression of the unit stage holds, in the column's own type.

    An engine leaves out whatever the expression doesn't need.
    """
    found: list[Any] = []
    for units in stage.slices():
        table = collect(units.filter(flag).select("__unit").sort("__unit").head(limit), source)
        found += list(table["__unit"])
    return sorted(found)[:limit]


def repeated(stage: UnitStage) -> nw.Expr:
    """Tell whether a unit has a cell with more than one row: more values than periods with a value."""
    present = nw.sum_horizontal(*(nw.when(nw.col(name).is_null()).then(0).otherwise(1) for name in stage.values()))
    return (nw.col("__filled") > present) | (nw.col("__rows") > stage.n_periods)


def incomplete(stage: UnitStage) -> nw.Expr:
    """Tell whether a unit without repeated cells lacks some."""
    return nw.col("__filled") < stage.n_periods


def _summed(stage: UnitStage, source: Source, shifts: Mapping[int, FloatArray]) -> Sums:
    n_periods, names = stage.n_periods, stage.values()
    pairs = [(s, t) for s in range(n_periods) for t in range(s, n_periods)]
    parts: dict[int, FloatArray] = {}
    for units in stage.slices():
        frame = _classified(units, stage)
        if shifts:
            frame = frame.with_columns(*(_shifted(name, j, shifts) for j, name in enumerate(names)))
        crossed = [(nw.col(names[s]) * nw.col(names[t])).alias(f"__p{s}_{t}") for s, t in pairs]
        measures = [nw.len().alias("__n"), nw.col("__filled").sum(), *(nw.col(name).sum() for name in names)]
        measures += [nw.col(f"__p{s}_{t}").sum() for s, t in pairs]
        table = collect(frame.with_columns(*crossed).group_by("__code").agg(*measures), source).sort_values("__code")
        columns = ["__n", "__filled", *names, *(f"__p{s}_{t}" for s, t in pairs)]
        for code, row in zip(table["__code"], table[columns].to_numpy(dtype=float, na_value=0.0), strict=True):
            parts[int(code)] = parts.get(int(code), np.zeros(len(columns))) + row
    codes = sorted(parts)
    rows = np.array([parts[code] for code in codes]).reshape(len(codes), -1)
    products = np.empty((len(codes), n_periods, n_periods))
    for column, (s, t) in enumerate(pairs, start=2 + n_periods):
        products[:, s, t] = products[:, t, s] = rows[:, column]
    return Sums(
        codes=np.array(codes, dtype=np.int64),
        counts=rows[:, 0].astype(np.int64),
        filled=rows[:, 1].astype(np.int64),
        totals=rows[:, 2 : 2 + n_periods],
        products=products,
        centres=np.array([stage.centres + shifts.get(code, 0.0) for code in codes]),
    )


def _classified(units: nw.LazyFrame[Any], stage: UnitStage) -> nw.LazyFrame[Any]:
    """Give every unit its code; one byte wide, so that an engine may keep the sums in a plain array."""
    unit = nw.col("__unit")
    unnamed = unit.is_null()
    if units.collect_schema()["__unit"] == nw.String:
        unnamed = unnamed | (unit.str.strip_chars() == "")
    first = nw.col("__first")
    lacking = nw.when(first < stage.n_periods).then(nw.lit(TREATED_INCOMPLETE)).otherwise(nw.lit(INCOMPLETE))
    code = nw.when(incomplete(stage)).then(lacking).otherwise(first)
    # Units treated throughout are left out whatever else they lack.
    code = nw.when(first == 0).then(nw.lit(0)).otherwise(code)
    code = nw.when(nw.col("__switches") == 1).then(nw.lit(SWITCHING)).otherwise(code)
    code = nw.when(repeated(stage)).then(nw.lit(REPEATED)).otherwise(code)
    code = nw.when(unnamed).then(nw.lit(EMPTY)).otherwise(code)
    return units.with_columns(code.cast(nw.Int8).alias("__code"))


def _shifted(name: str, period: int, shifts: Mapping[int, FloatArray]) -> nw.Expr:
    shift = nw.lit(0.0)
    for code, row in shifts.items():
        shift = nw.when(nw.col("__code") == code).then(nw.lit(float(row[period]))).otherwise(shift)
    return (nw.col(name) - shift).alias(name)


def _parts(frame: nw.LazyFrame[Any], states: int) -> Iterator[nw.LazyFrame[Any]]:
    """Yield the rows in parts with whole units, such that the states of all units of a part fit in memory in every thread."""
    native = frame.to_native()
    n_parts = _n_parts(native, states) if isinstance(native, duckdb.DuckDBPyRelation) else 1
    if n_parts == 1:
        yield frame
        return
    for part in range(n_parts):
        yield nw.from_native(native.filter(f'hash("__unit") % {n_parts} = {part}')).lazy()


def _n_parts(native: duckdb.DuckDBPyRelation, states: int) -> int:
    """Return how many scans to spend: few, but within the engine's memory, and within little memory while they are few."""
    settings = "current_setting('memory_limit') AS memory, current_setting('threads') AS threads"
    memory, threads = native.filter("false").aggregate("count(*)").project(settings).fetchone() or ("1.0 GiB", 1)
    limit = byte_count(memory)
    n_small = min(math.ceil(states * int(threads) / _STATE_BYTES), _MOST_SMALL_PARTS)
    return max(math.ceil(states * int(threads) / (_SHARE * limit)), n_small, 1)


def _is(column: nw.Expr, values: Sequence[Any]) -> nw.Expr:
    either: nw.Expr = column == values[0]
    for value in values[1:]:
        either = either | (column == value)
    return either


def _coded(column: nw.Expr, groups: Mapping[int, Sequence[Any]], *, default: int) -> nw.Expr:
    """Return the number of the group that a value is in."""
    code: nw.Expr = nw.lit(default)
    for number, values in groups.items():
        code = nw.when(_is(column, values)).then(nw.lit(number)).otherwise(code)
    return code
