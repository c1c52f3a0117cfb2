"""The panel: outcome of every unit in every period, and who was treated when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from causalbench.artifacts import digest
from causalbench.data.calendar import Align, Period, positions
from causalbench.errors import DataError, listing, nearest
from causalbench.values import BoolArray, Finding, FloatArray, IntArray, frozen_array

if TYPE_CHECKING:
    from causalbench.data.numerals import Decimal, Thousands
    from causalbench.data.outcome import OnDuplicate, Transform
    from causalbench.data.reduce import Aggregate, Grain

Scale = Literal["linear", "log", "ratio"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Outcome by unit and period with an absorbing treatment.

    Attributes
    ----------
    outcome
        Shape (n_units, n_periods), in units of the metric; NaN where missing.
    treated
        Shape (n_units, n_periods), true from a unit's launch on.
    units, periods
        Labels in ascending order.
    metric, unit_name
        What the outcome and a unit are called.
    frequency, season
        Spacing of the periods and how many of them make a season.
    additive
        Whether outcomes add up over units and periods to a total; false for a mean, a rate or a logarithm.
    scale
        ``log`` where the outcome is a natural logarithm, so that an effect is a relative one; ``ratio`` of two sums; else
        ``linear``. It says what parallel trends means: equal growth rates, or equal changes.
    covariates, covariate_names
        Values by unit and period, shape (n_units, n_periods, n_covariates), NaN where a cell has no row; and their names.
    weights
        Size of each unit in a population-weighted effect, shape (n_units,), positive; None: every unit counts the same.
    cluster
        Label of the cluster that each unit belongs to; None: units are independent of each other.
    cost
        What was spent in each cell, shape (n_units, n_periods), in money; NaN where it isn't known. None: no cost was read.
    findings
        What was met and changed while the panel was built.
    excluded
        Units that :meth:`without` has left out.

    Notes
    -----
    Not slotted, so that derived arrays are computed once.
    """

    outcome: FloatArray
    treated: BoolArray
    units: tuple[str, ...]
    periods: tuple[Period, ...]
    metric: str = "outcome"
    unit_name: str = "unit"
    frequency: str = "number"
    season: int = 1
    additive: bool = True
    scale: Scale = "linear"
    covariates: FloatArray = field(default_factory=lambda: np.empty(0))
    covariate_names: tuple[str, ...] = ()
    weights: FloatArray | None = None
    cluster: tuple[str, ...] | None = None
    cost: FloatArray | None = None
    findings: tuple[Finding, ...] = field(default=())
    excluded: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "additive", self.additive and self.scale == "linear")
        shape = (len(self.units), len(self.periods))
        object.__setattr__(self, "outcome", frozen_array(self.outcome, shape=shape, name="outcome"))
        object.__setattr__(self, "treated", frozen_array(self.treated, dtype=bool, shape=shape, name="treated"))
        cells = np.reshape(self.covariates, (*shape, len(self.covariate_names)))
        object.__setattr__(self, "covariates", frozen_array(cells, name="covariates"))
        if self.weights is not None:
            object.__setattr__(self, "weights", frozen_array(self.weights, shape=shape[:1], name="weights"))
            if not np.isfinite(self.weights).all() or self.weights.min() <= 0:
                raise ValueError("weights must be positive")
        if self.cost is not None:
            object.__setattr__(self, "cost", frozen_array(self.cost, shape=shape, name="cost"))
            if np.isinf(self.cost).any():
                raise ValueError("the cost must be finite or NaN")
        if self.cluster is not None and len(self.cluster) != len(self.units):
            raise ValueError("every unit needs a cluster")
        if len(set(self.units)) != len(self.units):
            raise ValueError("units must be distinct")
        if list(self.periods) != sorted(set(self.periods)):
            raise ValueError("periods must ascend and be distinct")
        if (np.diff(self.treated.astype(int), axis=1) < 0).any():
            raise ValueError("treatment switches off; it must be absorbing")
        if np.isinf(self.outcome).any():
            raise ValueError("the outcome must be finite or NaN")

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        unit: str,
        period: str,
        outcome: str,
        treated: Iterable[str] | None = None,
        start: Any = None,
        cohort: str | None = None,
        treatment: str | None = None,
        end: Any = None,
        anticipation: int = 0,
        align: Align = "error",
        grain: Grain = "cell",
        aggregate: Aggregate = "sum",
        scale: Literal["linear", "log"] = "linear",
        denominator: str | None = None,
        transform: Transform | None = None,
        on_duplicate: OnDuplicate = "error",
        date_format: str | None = None,
        decimal: Decimal | None = None,
        thousands: Thousands | None = None,
        metric: str | None = None,
        covariates: Iterable[str] = (),
        weights: str | None = None,
        cluster: str | None = None,
        cost: str | None = None,
    ) -> Self:
        """Build a panel from a long table; aggregation runs in the table's own engine.

        Parameters
        ----------
        table
            pandas, Polars or Arrow table, or a DuckDB relation. It isn't changed.
        unit, period, outcome
            Column names.
        treated, start
            Names of the treated units and their common first treated period; or instead
        cohort
            a column with each unit's first treated period (missing, infinite or 0: never); or instead
        treatment
            a column of 0 and 1.
        end
            Last period of interest; later ones are left out.
        anticipation
            Number of periods before the launch that may already react; they are left out.
        align
            What to do with a launch between two periods: ``error``, ``next``, ``previous``, ``drop_partial``.
        grain
            ``cell`` for one row per unit and period, ``event`` for rows that are aggregated.
        aggregate
            ``sum``, ``mean`` or ``count`` of event rows; of cells, ``mean`` says that the outcome is a mean or a rate, so
            that no total is formed.
        scale
            ``log`` where the column holds natural logarithms: relative effects are then ``exp(effect) - 1``.
        denominator
            Column to divide by: the outcome of a cell is then the sum of one column over the sum of the other.
        transform
            ``log`` for the natural logarithm of every cell, so that effects are in log points and parallel trends means
            equal growth rates; refused where a cell isn't positive.
        on_duplicate
            What to do with a second row of a cell: ``error``, ``exact``, ``sum``, ``mean``.
        date_format
            How periods are written where they are neither whole numbers nor ISO dates, such as ``%d/%m/%Y``.
        decimal, thousands
            Marks of numbers stored as text, such as ``.`` and ``,`` for ``1,234.5``.
        metric
            Name of the outcome in reports; the column's name by default.
        covariates
            Numeric columns that parallel trends may depend on.
        weights
            Column with each unit's size, for a population-weighted effect; constant within a unit.
        cluster
            Column with the cluster of each unit, such as its state; constant within a unit.
        cost
            Column with what was spent in each row, summed like the outcome; methods that use it give the incremental return.

        Raises
        ------
        DataError
            For anything in the table that would make the answer wrong, with column, unit, count and remedy.

        Examples
        --------
        >>> import pandas as pd
        >>> table = pd.DataFrame({"geo": ["a", "a", "b", "b"], "week": [1, 2, 1, 2], "sales": [5.0, 7.0, 4.0, 4.5]})
        >>> panel = Panel.from_table(table, unit="geo", period="week", outcome="sales", treated=["a"], start=2)
        >>> panel.n_pre, panel.treated_units
        (1, ('a',))
        """
        from causalbench.data import assembly, sources
        from causalbench.data.launch import LaunchRule
        from causalbench.data.numerals import Numerals
        from causalbench.data.outcome import Reading
        from causalbench.data.reduce import Columns

        return cls(
            **assembly.assemble(
                sources.from_object(table),
                Columns(
                    unit=unit,
                    period=period,
                    outcome=outcome,
                    denominator=denominator,
                    cohort=cohort,
                    treatment=treatment,
                    covariates=_names(covariates) or (),
                    weights=weights,
                    cluster=cluster,
                    cost=cost,
                    numerals=Numerals(decimal=decimal, thousands=thousands) if decimal or thousands else None,
                ),
                launch=LaunchRule(
                    units=_names(treated),
                    start=start,
                    end=end,
                    anticipation=anticipation,
                    align=align,
                ),
                reading=Reading(
                    grain=grain,
                    aggregate=aggregate,
                    on_duplicate=on_duplicate,
                    metric=metric or outcome,
                    scale=scale,
                    transform=transform,
                    date_format=date_format,
                ),
            )
        )

    @cached_property
    def first_treated(self) -> IntArray:
        """Index of each unit's first treated period, n_periods for units never treated; shape (n_units,)."""
        return np.where(self.treated.any(axis=1), self.treated.argmax(axis=1), len(self.periods))

    @cached_property
    def positions(self) -> IntArray:
        """Whole-numbered place of every period, one step apart where nothing is missing between; shape (n_periods,)."""
        return positions(self.periods, self.frequency)

    @cached_property
    def starts(self) -> IntArray:
        """Distinct values of :attr:`first_treated`, ascending."""
        found: IntArray = np.flatnonzero(np.bincount(self.first_treated))
        return found

    @property
    def ever_treated(self) -> BoolArray:
        """Which units are treated at some time, shape (n_units,)."""
        return self.first_treated < len(self.periods)

    @cached_property
    def treated_units(self) -> tuple[str, ...]:
        """Names of the treated units."""
        return tuple(self.units[i] for i in np.flatnonzero(self.ever_treated).tolist())

    @cached_property
    def donor_pool(self) -> tuple[str, ...]:
        """Names of the units never treated."""
        return tuple(self.units[i] for i in np.flatnonzero(~self.ever_treated).tolist())

    @property
    def cohorts(self) -> tuple[Period, ...]:
        """Distinct first treated periods."""
        return tuple(self.periods[i] for i in self.starts.tolist() if i < len(self.periods))

    @cached_property
    def cluster_codes(self) -> IntArray:
        """Number of each unit's cluster, from 0 up in order of the labels; shape (n_units,)."""
        if self.cluster is None:
            return np.arange(len(self.units))
        codes: IntArray = np.unique(np.array(self.cluster, dtype=object), return_inverse=True)[1]
        return codes

    @property
    def n_clusters(self) -> int:
        """Number of clusters; of units where there is no cluster column."""
        return len(self.units) if self.cluster is None else int(self.cluster_codes.max()) + 1

    @property
    def n_treated_clusters(self) -> int:
        """Number of clusters with a treated unit that can be compared with somebody; see :attr:`n_control_clusters`."""
        return self._n_clusters_of(self.first_treated < self._last_start)

    @property
    def n_control_clusters(self) -> int:
        """Number of clusters with a unit never treated; where there are none, with one of the last cohort.

        Without units never treated, the last cohort is the control of all others and has no effect of its own.
        """
        return self._n_clusters_of(self.first_treated >= self._last_start)

    def _n_clusters_of(self, units: BoolArray) -> int:
        return int(units.sum()) if self.cluster is None else len(np.unique(self.cluster_codes[units]))

    @property
    def _last_start(self) -> int:
        return int(self.first_treated.max())

    @cached_property
    def unit_covariates(self) -> FloatArray:
        """Covariates that are constant within every unit, shape (n_units, n_covariates).

        Raises
        ------
        DataError
            Where one varies within a unit, or a unit has no value.
        """
        if not self.covariate_names:
            return np.empty((len(self.units), 0))
        known = ~np.isnan(self.covariates)
        low: FloatArray = np.where(known, self.covariates, np.inf).min(axis=1)
        high = np.where(known, self.covariates, -np.inf).max(axis=1)
        for j, name in enumerate(self.covariate_names):
            for bad, what in ((low[:, j] > high[:, j], "has no value for"), (low[:, j] < high[:, j], "varies within")):
                if bad.any():
                    units = [unit for unit, flag in zip(self.units, bad, strict=True) if flag]
                    raise DataError(
                        f"covariate {name!r} {what} {len(units)} units: {listing(units)}",
                        code="CB-D043",
                        remedy="give each unit one value, known before the launch",
                    )
        return low

    @property
    def effect_units(self) -> str:
        """What an effect is measured in, such as ``log points of sales per city and week``."""
        return effect_units(self.scale, self.metric, self.unit_name, self.frequency)

    @property
    def n_treated(self) -> int:
        """Number of units treated at some time."""
        return int(self.ever_treated.sum())

    @property
    def n_control(self) -> int:
        """Number of units never treated."""
        return int((~self.ever_treated).sum())

    @property
    def n_treated_cells(self) -> int:
        """Number of treated cells with an outcome."""
        return int((self.treated & ~np.isnan(self.outcome)).sum())

    @property
    def treated_mean(self) -> float:
        """(Weighted) mean outcome of the treated cells."""
        sizes: FloatArray = (self.treated & ~np.isnan(self.outcome)).astype(float)
        sizes = sizes if self.weights is None else sizes * self.weights[:, None]
        return float((np.nan_to_num(self.outcome) * sizes).sum() / sizes.sum())

    @property
    def population(self) -> str:
        """Who the treated are, in words."""
        return listing(self.treated_units, limit=8)

    @property
    def largest(self) -> float:
        """Largest outcome in absolute value."""
        return float(np.nanmax(np.abs(self.outcome)))

    @property
    def n_pre(self) -> int:
        """Number of periods before the first launch."""
        return int(self.first_treated.min())

    @property
    def n_post(self) -> int:
        """Number of periods from the first launch on."""
        return len(self.periods) - self.n_pre

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of labels, outcome and treatment in canonical order."""
        labels = [self.metric, self.units, self.periods]
        content = digest(labels).encode() + self.outcome.tobytes() + self.treated.tobytes()
        if self.covariate_names:
            content += digest(self.covariate_names).encode() + self.covariates.tobytes()
        if self.weights is not None:
            content += self.weights.tobytes()
        if self.cost is not None:
            content += b"cost" + self.cost.tobytes()
        return digest(content if self.cluster is None else content + digest(self.cluster).encode())

    def index(self, units: Iterable[str]) -> IntArray:
        """Return the row numbers of named units."""
        position = {unit: i for i, unit in enumerate(self.units)}
        return np.array([position[unit] for unit in units], dtype=np.int64)

    def assigned_to(self, units: BoolArray, *, start: int) -> Panel:
        """Return the same outcomes with the units of a mask treated from the period with index ``start`` on."""
        treated = np.zeros(self.outcome.shape, dtype=bool)
        treated[np.asarray(units), start:] = True
        return replace(self, treated=treated)

    def without(self, units: Iterable[str]) -> Panel:
        """Leave out named control units and record it.

        Raises
        ------
        DataError
            When a name is no control unit of this panel.
        """
        wanted = tuple(sorted(set(units) - set(self.excluded)))
        unknown = [name for name in wanted if name not in self.donor_pool]
        if unknown:
            found = "; ".join(f"{name!r}{nearest(name, self.donor_pool)}" for name in unknown)
            raise DataError(f"exclude names no control unit: {found}", code="CB-D019", remedy="mend exclude")
        if not wanted:
            return self
        message = f"{len(wanted)} control units are excluded by the study: {listing(wanted)}"
        finding = Finding(
            code="CB-D026", severity="info", message=message, action="left out", count=len(wanted), units=wanted
        )
        kept = self.only(units=~np.isin(self.units, wanted))
        return replace(kept, findings=(*self.findings, finding), excluded=(*self.excluded, *wanted))

    def only(self, units: BoolArray | None = None, periods: BoolArray | None = None) -> Panel:
        """Return the panel of some units and periods, given as masks."""
        rows = np.ones(len(self.units), dtype=bool) if units is None else np.asarray(units)
        columns = np.ones(len(self.periods), dtype=bool) if periods is None else np.asarray(periods)
        return replace(
            self,
            outcome=self.outcome[np.ix_(rows, columns)],
            treated=self.treated[np.ix_(rows, columns)],
            covariates=self.covariates[np.ix_(rows, columns)],
            cost=None if self.cost is None else self.cost[np.ix_(rows, columns)],
            weights=None if self.weights is None else self.weights[rows],
            cluster=None
            if self.cluster is None
            else tuple(c for c, keep in zip(self.cluster, rows, strict=True) if keep),
            units=tuple(unit for unit, keep in zip(self.units, rows, strict=True) if keep),
            periods=tuple(period for period, keep in zip(self.periods, columns, strict=True) if keep),
        )


def effect_units(scale: Scale, metric: str, unit_name: str, frequency: str) -> str:
    """Write what an effect is measured in."""
    period = "period" if frequency in ("number", "irregular") else frequency
    outcome = {"linear": "{}", "ratio": "{} (a ratio)", "log": "log points of {}"}[scale].format(metric)
    return f"{outcome} per {unit_name} and {period}"


def _names(units: Iterable[object] | None) -> tuple[str, ...] | None:
    if units is None:
        return None
    return (units,) if isinstance(units, str) else tuple(map(str, units))
