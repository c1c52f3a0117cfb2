"""The cross-section: one row per unit, a treatment that some of them took, and what was known about them before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

import narwhals as nw
import numpy as np
import pandas as pd

from causalbench.artifacts import digest
from causalbench.data import sources
from causalbench.data.sources import Source
from causalbench.errors import DataError, listing, nearest, require_one_of
from causalbench.values import BoolArray, Finding, FloatArray, IntArray, frozen_array

OnMissing = Literal["error", "drop_unit"]
_MOST_LEVELS = 50
_LARGEST = 1e100


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossSection:
    """Outcome, treatment and covariates of units that are compared once.

    Attributes
    ----------
    outcome
        Shape (n,), in units of the metric.
    treatment
        Shape (n,), true for units that took the treatment.
    covariates, names
        Shape (n, k), known before the treatment; and their names. A text column became one column of 0 and 1 per level but
        the first, named ``column=level``.
    first_levels
        Text columns, each with the level that has no column.
    before
        The outcome before the treatment, shape (n,), where it was measured: for differences. It may be a covariate as well.
    weights
        Sampling weight of each unit, shape (n,), positive; None: all count the same.
    cluster
        Label of the cluster that each unit belongs to; None: units are independent of each other.
    metric, unit_name, treatment_name
        What the outcome, a unit and the treatment are called.
    additive
        Whether outcomes add up over units to a total.
    findings
        What was met and changed while it was built.

    Notes
    -----
    Rows are sorted by their values, so that the same data in another order are the same cross-section. Not slotted, so that
    derived arrays are computed once.
    """

    outcome: FloatArray
    treatment: BoolArray
    covariates: FloatArray
    names: tuple[str, ...]
    before: FloatArray | None = None
    weights: FloatArray | None = None
    cluster: tuple[str, ...] | None = None
    metric: str = "outcome"
    unit_name: str = "unit"
    treatment_name: str = "treatment"
    additive: bool = True
    first_levels: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = field(default=())

    def __post_init__(self) -> None:
        n = len(self.outcome)
        place = object.__setattr__
        place(self, "outcome", frozen_array(self.outcome, shape=(n,), name="outcome"))
        place(self, "treatment", frozen_array(self.treatment, dtype=bool, shape=(n,), name="treatment"))
        cells = np.reshape(self.covariates, (n, len(self.names)))
        place(self, "covariates", frozen_array(cells, name="covariates"))
        for name in ("before", "weights"):
            if getattr(self, name) is not None:
                place(self, name, frozen_array(getattr(self, name), shape=(n,), name=name))
        numbers = [self.outcome, self.covariates, *(a for a in (self.before, self.weights) if a is not None)]
        if not all(np.isfinite(array).all() for array in numbers):
            raise ValueError("a cross-section holds finite numbers only")
        if self.weights is not None and self.weights.min() <= 0:
            raise ValueError("weights must be positive")
        if self.cluster is not None and len(self.cluster) != n:
            raise ValueError("every unit needs a cluster")
        if len(set(self.names)) != len(self.names):
            raise ValueError("covariates must have distinct names")

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        outcome: str,
        treatment: str,
        covariates: Iterable[str] = (),
        before: str | None = None,
        weights: str | None = None,
        cluster: str | None = None,
        unit: str | None = None,
        metric: str | None = None,
        on_missing: OnMissing = "error",
    ) -> Self:
        """Build a cross-section from a table with one row per unit.

        Parameters
        ----------
        table
            pandas, Polars or Arrow table, or a DuckDB relation. It isn't changed.
        outcome, treatment
            Column names; the treatment holds 0 and 1.
        covariates
            Columns known before the treatment; text becomes one column per level but the first.
        before
            Column of the outcome before the treatment.
        weights, cluster
            Columns of sampling weights and of clusters.
        unit
            Column that names the units; each may appear once.
        metric
            Name of the outcome in reports; the column's name by default.
        on_missing
            ``error``, or ``drop_unit`` to leave out units with an empty cell, counted.

        Raises
        ------
        DataError
            For missing columns, empty cells, text where numbers belong, a treatment that isn't 0 and 1 or that all or none took.

        Examples
        --------
        >>> import pandas as pd
        >>> table = pd.DataFrame({"y": [1.0, 2.0, 3.0], "d": [0, 1, 1], "age": [30, 40, 50]})
        >>> people = CrossSection.from_table(table, outcome="y", treatment="d", covariates=["age"])
        >>> people.n_treated, people.names
        (2, ('age',))
        """
        asked = Roles(
            outcome=outcome,
            treatment=treatment,
            covariates=tuple(covariates),
            before=before,
            weights=weights,
            cluster=cluster,
            unit=unit,
        )
        return cls(**read(sources.from_object(table), asked, metric=metric or outcome, on_missing=on_missing))

    @property
    def n_treated(self) -> int:
        """Number of units that took the treatment."""
        return int(self.treatment.sum())

    @property
    def n_control(self) -> int:
        """Number of units that didn't."""
        return int((~self.treatment).sum())

    @cached_property
    def cluster_codes(self) -> IntArray:
        """Number of each unit's cluster, from 0 up in order of the labels; shape (n,)."""
        if self.cluster is None:
            return np.arange(len(self.outcome))
        codes: IntArray = np.unique(np.array(self.cluster, dtype=object), return_inverse=True)[1]
        return codes

    @property
    def n_clusters(self) -> int:
        """Number of clusters; of units where there is no cluster column."""
        return len(self.outcome) if self.cluster is None else int(self.cluster_codes.max()) + 1

    @property
    def n_treated_clusters(self) -> int:
        """Number of clusters with a treated unit."""
        return len(np.unique(self.cluster_codes[self.treatment]))

    @property
    def n_control_clusters(self) -> int:
        """Number of clusters with a control unit."""
        return len(np.unique(self.cluster_codes[~self.treatment]))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of names and values in canonical order."""
        arrays = [self.outcome, self.treatment, self.covariates, self.before, self.weights]
        content = digest([self.metric, self.names]).encode() + b"".join(
            b"-" if array is None else array.tobytes() for array in arrays
        )
        return digest(content if self.cluster is None else content + digest(self.cluster).encode())

    def only(self, units: BoolArray) -> Self:
        """Return the cross-section of some units, given as a mask."""
        rows = np.flatnonzero(np.asarray(units))
        return replace(
            self,
            outcome=self.outcome[rows],
            treatment=self.treatment[rows],
            covariates=self.covariates[rows],
            before=None if self.before is None else self.before[rows],
            weights=None if self.weights is None else self.weights[rows],
            cluster=None if self.cluster is None else tuple(self.cluster[i] for i in rows.tolist()),
        )

    def column(self, name: str) -> FloatArray:
        """Return one covariate by name, shape (n,)."""
        if name not in self.names:
            raise DataError(
                f"there is no covariate {name!r}{nearest(name, self.names)}",
                remedy=f"name one of {listing(self.names)}",
            )
        values: FloatArray = self.covariates[:, self.names.index(name)]
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Which columns of a table play which role in a cross-section."""

    outcome: str
    treatment: str
    covariates: tuple[str, ...] = ()
    before: str | None = None
    weights: str | None = None
    cluster: str | None = None
    unit: str | None = None

    def __post_init__(self) -> None:
        used = [name for name in self.columns() if name != self.before]
        if self.before is not None:
            used += [self.before] * (1 + (self.before in self._single()))  # it may be a covariate as well
        twice = sorted({name for name in used if used.count(name) > 1})
        if twice:
            raise DataError(f"columns have two roles: {listing(map(repr, twice))}", remedy="name each column once")

    def columns(self) -> tuple[str, ...]:
        """Return every column in use; one that is both a covariate and the outcome before stands once."""
        before = () if self.before is None or self.before in self.covariates else (self.before,)
        return (*self._single(), *before, *self.covariates)

    def _single(self) -> tuple[str, ...]:
        single = (self.outcome, self.treatment, self.weights, self.cluster, self.unit)
        return tuple(name for name in single if name is not None)


def read(source: Source, roles: Roles, *, metric: str, on_missing: OnMissing) -> dict[str, Any]:
    """Return the fields of a :class:`CrossSection`; see :meth:`CrossSection.from_table`."""
    require_one_of("on_missing", on_missing, ("error", "drop_unit"))
    names = list(source.frame.collect_schema())
    unknown = [f"{name!r}{nearest(name, names)}" for name in roles.columns() if name not in names]
    if unknown:
        raise DataError(
            f"{source.origin} lacks {listing(unknown)}",
            code="CB-D018",
            remedy=f"name one of its columns: {listing(names, limit=20)}",
        )
    table = sources.collect(source.frame.select(*map(nw.col, roles.columns())), source)
    if table.empty:
        raise DataError(
            f"{source.origin} has no rows", code="CB-D033", remedy="check the export or the query's filters"
        )
    findings: list[Finding] = []
    _refuse_repeated_units(table, roles.unit)
    table = _complete(table, on_missing, findings)
    treatment = _zero_one(table[roles.treatment], roles.treatment)
    firsts: dict[str, str] = {}
    columns = [part for name in roles.covariates for part in _columns(table[name], name, findings, firsts)]
    values = {
        "outcome": _number(table[roles.outcome], roles.outcome, "outcome"),
        "treatment": treatment,
        "covariates": np.column_stack([value for _, value in columns]) if columns else np.empty((len(table), 0)),
        "before": None if roles.before is None else _number(table[roles.before], roles.before, "before"),
        "weights": None if roles.weights is None else _positive(table[roles.weights], roles.weights),
    }
    cluster = None if roles.cluster is None else table[roles.cluster].astype(str).str.strip().to_numpy(dtype=object)
    order = _canonical(values, cluster)
    return {
        **{name: None if array is None else array[order] for name, array in values.items()},
        "names": tuple(name for name, _ in columns),
        "cluster": None if cluster is None else tuple(cluster[order].tolist()),
        "metric": metric,
        "unit_name": roles.unit or "unit",
        "treatment_name": roles.treatment,
        "first_levels": tuple(firsts.items()),
        "findings": tuple(findings),
    }


def _refuse_repeated_units(table: pd.DataFrame, unit: str | None) -> None:
    if unit is None:
        return
    twice = table[unit][table[unit].duplicated()].unique()
    if len(twice):
        raise DataError(
            f"{len(twice)} units have several rows: {listing(twice)}",
            code="CB-D002",
            remedy="give one row per unit, or name a period column and use a panel method",
        )


def _complete(table: pd.DataFrame, rule: OnMissing, findings: list[Finding]) -> pd.DataFrame:
    """Refuse or leave out rows with an empty cell."""
    empty = table.isna()
    rows = empty.any(axis=1)
    if not rows.any():
        return table
    where = listing(f"{name!r} ({int(count)})" for name, count in empty.sum().items() if count)
    if rule == "error":
        raise DataError(
            f"{int(rows.sum())} of {len(table)} rows have an empty cell, by column: {where}",
            code="CB-D004",
            remedy='fill them in, leave the column out, or set on_missing = "drop_unit"',
        )
    kept = table[~rows]
    if kept.empty:
        raise DataError(f"every row has an empty cell, by column: {where}", code="CB-D004", remedy="leave columns out")
    message = f"{int(rows.sum())} of {len(table)} rows have an empty cell, by column: {where}"
    findings.append(
        Finding(code="CB-D004", severity="warning", message=message, action="left out", count=int(rows.sum()))
    )
    return kept.reset_index(drop=True)


def _number(values: pd.Series[Any], name: str, role: str) -> FloatArray:
    if not (pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype)):
        sample = listing(map(repr, values.unique()[:3].tolist()))
        raise DataError(
            f"{role} column {name!r} holds no numbers, for example {sample}",
            code="CB-D020",
            remedy="store 1 for units that took it and 0 for the others"
            if role == "treatment"
            else "store plain numbers",
        )
    array: FloatArray = values.to_numpy(dtype=float)
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise DataError(f"{role} column {name!r} is infinite in {count} rows", code="CB-D004", remedy="correct them")
    largest = float(np.abs(array).max(initial=0.0))
    if largest > _LARGEST or 0 < largest < 1 / _LARGEST:
        raise DataError(
            f"{role} column {name!r} holds numbers of size {largest:.0e}, whose squares no computer number can hold",
            code="CB-D020",
            remedy="store them in other units, or find what went wrong where they were made",
        )
    return array


def _positive(values: pd.Series[Any], name: str) -> FloatArray:
    array = _number(values, name, "weights")
    if (array <= 0).any():
        count = int((array <= 0).sum())
        raise DataError(
            f"weights in column {name!r} must be positive; {count} rows aren't", code="CB-D045", remedy="correct them"
        )
    return array


def _zero_one(values: pd.Series[Any], name: str) -> BoolArray:
    array = _number(values, name, "treatment")
    odd = sorted(set(array.tolist()) - {0.0, 1.0})
    if odd:
        raise DataError(
            f"treatment column {name!r} holds {listing(f'{value:g}' for value in odd)}",
            code="CB-D011",
            remedy="it must be 0 or 1; for doses or several treatments compare two groups at a time",
        )
    took: BoolArray = array == 1
    if took.all() or not took.any():
        who = "every unit" if took.all() else "no unit"
        raise DataError(f"{who} took the treatment", code="CB-D012", remedy="a comparison needs both groups")
    return took


def _columns(
    values: pd.Series[Any], name: str, findings: list[Finding], firsts: dict[str, str]
) -> list[tuple[str, FloatArray]]:
    """Return a number column as it is, a text column as one column of 0 and 1 per level but the first."""
    if pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        return [(name, _number(values, name, "covariate"))]
    labels = values.astype(str).str.strip()
    levels = sorted(labels.unique())
    if len(levels) > _MOST_LEVELS:
        raise DataError(
            f"covariate column {name!r} is text with {len(levels)} levels",
            code="CB-D041",
            remedy=f"group them into at most {_MOST_LEVELS}, or store numbers",
        )
    message = f"covariate {name!r} is text with {len(levels)} levels"
    action = f"read as 0 / 1 columns beside {levels[0]!r}"
    findings.append(Finding(code="CB-D041", severity="info", message=message, action=action, count=len(levels)))
    firsts[name] = levels[0]
    return [(f"{name}={level}", (labels == level).to_numpy(dtype=float)) for level in levels[1:]]


def _canonical(values: dict[str, Any], cluster: Any) -> IntArray:
    """Return an order of rows that their own order in the table leaves as it is."""
    keys = [values["outcome"], values["treatment"], *values["covariates"].T]
    keys += [values[name] for name in ("before", "weights") if values[name] is not None]
    keys += [] if cluster is None else [np.unique(cluster, return_inverse=True)[1]]
    order: IntArray = np.lexsort(keys[::-1])
    return order
