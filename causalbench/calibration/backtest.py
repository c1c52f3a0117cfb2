r"""How wrong each method is on this history: launches that never were, in time and in space, before the launch.

**What is exchangeable.** Before the launch nobody is treated, so the error of a method on a mock launch is its estimate.
Take :math:`N_1` of the :math:`N_1 + N_0` units as treated in a window of :math:`d` periods that ends before the launch, fit
on the periods before that window, and use all other units as controls. Their number, :math:`N_0`, is that of the real
comparison, and the real choice of units is one of the choices that are drawn. So errors of all sets of units in one window have
the law of the real one, *if units are exchangeable in errors*; those of all windows, *if errors are stationary*. Neither makes
them independent: sets share units, windows overlap, all sets of one window share its shocks. What a number of such placebos
is worth is counted by :mod:`causalbench.numerics.block_error`; the text of :mod:`causalbench.calibration.recalibrate` derives
what follows for an interval.

All methods get the same placebos, so their errors are joint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.random import Generator

from causalbench.calibration._placebos import Placebos, draw_placebos
from causalbench.data.calendar import Period
from causalbench.data.panel import Panel
from causalbench.errors import CausalbenchError, RefusalError
from causalbench.numerics.block_error import Dependence
from causalbench.numerics.conformal_scale import spreads_beside_others
from causalbench.protocols import Estimator, FitsMany, Inference
from causalbench.values import BoolArray, Fit, FloatArray, IntArray, frozen_array
from causalbench.wording import counted

_SLOW = 24
_INTERVALS = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class Backtest:
    """Errors of methods on launches that never were.

    Attributes
    ----------
    methods
        Names, in the order they were given, without those that refused every placebo.
    errors
        Estimates where nothing was launched, shape (n_methods, n_placebos); NaN where a method wasn't fitted.
    launches
        Index of each unit's first treated period in each placebo, ``n_pre`` where never; shape (n_placebos, n_units).
    units
        Names of the panel's units.
    starts
        First period of each placebo's window.
    start_index
        Its index, shape (n_placebos,).
    own
        Which placebos treat the units that were really treated, shape (n_placebos,).
    volatility
        How volatile each placebo's units were beside the others before its window, by two measures; shape (2, n_placebos).
    own_volatility
        The same of the treated units before the launch, shape (2,).
    nominal_covers, nominal_half_widths
        Whether the method's own interval holds no effect (1 or 0), and half its width; NaN where none was computed. Shape
        (n_methods, n_placebos).
    duration, asked_duration
        Periods of every window, and of the post period.
    n_pre, n_treated
        Periods before the launch, and units treated at once.
    level
        Confidence level.
    treated_mean
        Mean outcome of the treated units over the last ``duration`` periods before the launch.
    refused
        Reason by method that refused a placebo, with how often where not always.
    """

    methods: tuple[str, ...]
    errors: FloatArray
    launches: IntArray
    units: tuple[str, ...]
    starts: tuple[Period, ...]
    start_index: IntArray
    own: BoolArray
    volatility: FloatArray
    own_volatility: FloatArray
    nominal_covers: FloatArray
    nominal_half_widths: FloatArray
    duration: int
    asked_duration: int
    n_pre: int
    n_treated: int
    level: float
    treated_mean: float
    refused: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.methods), len(self.starts))
        for name in ("errors", "nominal_covers", "nominal_half_widths"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), shape=shape, name=name))
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}, it must lie strictly between 0 and 1")

    @property
    def n_placebos(self) -> int:
        """Number of placebos."""
        return len(self.starts)

    @property
    def n_windows(self) -> int:
        """Number of different windows; they may overlap."""
        return len(np.unique(self.start_index))

    @cached_property
    def dependence(self) -> Dependence:
        """Which placebos share units and periods."""
        return Dependence.of(self.launches < self.n_pre, self.start_index, duration=self.duration)

    def index(self, method: str) -> int:
        """Return the row of a method in every array."""
        return self.methods.index(method)

    def errors_of(self, method: str) -> FloatArray:
        """Return a method's errors where it was fitted."""
        row: FloatArray = self.errors[self.index(method)]
        return row[~np.isnan(row)]

    @property
    def complete(self) -> BoolArray:
        """Placebos that every method was fitted to, shape (n_placebos,)."""
        return np.asarray(~np.isnan(self.errors).any(axis=0))

    @property
    def covariance(self) -> FloatArray:
        """Second moments of the methods' errors about zero, over placebos that all were fitted to; (n_methods, n_methods).

        About zero, because a bias is an error too.
        """
        errors = self.errors[:, self.complete]
        found: FloatArray = errors @ errors.T / max(errors.shape[1], 1)
        return found

    @cached_property
    def table(self) -> tuple[dict[str, Any], ...]:
        """One row per method, by root mean squared error; see :func:`causalbench.calibration.leaderboard.leaderboard`."""
        from causalbench.calibration.leaderboard import leaderboard

        return leaderboard(self)

    @property
    def best(self) -> str:
        """The method with the smallest root mean squared error."""
        return str(self.table[0]["method"])

    def to_dict(self) -> dict[str, Any]:
        """Return what pages and figures need, as plain values."""
        return {
            "level": self.level,
            "duration": self.duration,
            "asked_duration": self.asked_duration,
            "n_placebos": self.n_placebos,
            "n_windows": self.n_windows,
            "n_units": len(self.units),
            "n_treated": self.n_treated,
            "first_start": self.starts[0],
            "last_start": self.starts[-1],
            "treated_mean": self.treated_mean,
            "table": list(self.table),
            "refused": dict(self.refused),
        }


def backtest(
    panel: Panel,
    methods: Mapping[str, Estimator[Panel]],
    *,
    duration: int,
    n_placebos: int = 500,
    level: float = 0.95,
    rng: Generator,
    inferences: Mapping[str, Inference[Panel]] | None = None,
    n_intervals: int = _INTERVALS,
    n_slow: int = _SLOW,
) -> Backtest:
    """Fit every method to the same launches that never were, on periods before the launch alone.

    Parameters
    ----------
    panel
        With the real launch; what lies on or after its first date isn't looked at.
    methods
        Estimators by name.
    duration
        Periods of the post period; shorter windows are used where the history leaves no room, which the table says.
    n_placebos
        About how many; see :class:`Backtest` for those that were drawn.
    level
        Of the intervals.
    inferences
        The inference by method, whose intervals are then measured on ``n_intervals`` of the placebos; None: none.
    n_slow
        Placebos for a method that can't be fitted to many at once.

    Raises
    ------
    RefusalError
        Where the history leaves no room for a placebo, or no method could be fitted to any.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.data.simulate import factor_panel
    >>> from causalbench.estimators import CATALOGUE
    >>> panel = factor_panel(n_units=12, n_periods=48, n_treated=1, n_post=6, effect=2.0, rho=0.3, seed=1)
    >>> methods = {name: CATALOGUE.create(name) for name in ("did", "synthetic-control")}
    >>> found = backtest(panel, methods, duration=6, n_placebos=100, rng=np.random.default_rng(0))
    >>> found.errors.shape, found.n_windows, sorted(row["method"] for row in found.table)
    ((2, 96), 8, ['did', 'synthetic-control'])
    """
    history = panel.only(periods=np.arange(len(panel.periods)) < panel.n_pre)
    ready, refused = _sampled(history, panel, methods)
    pool = np.array([i for i, unit in enumerate(panel.units) if all(unit in data.units for _, data in ready.values())])
    fewest = max((methods[name].requires.min_pre for name in ready), default=1)
    drawn = draw_placebos(panel, pool, duration=duration, n_placebos=n_placebos, fewest_before=fewest, rng=rng)
    launches = drawn.launches(len(panel.units), panel.n_pre)
    few = rng.permutation(len(launches))
    streams = dict(zip(sorted(methods), rng.spawn(len(methods)), strict=True))
    shape = (len(ready), len(launches))
    errors, covers, widths = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    for m, (name, (estimator, data)) in enumerate(ready.items()):
        columns = np.isin(panel.units, data.units)
        asked = np.arange(len(launches)) if isinstance(estimator, FitsMany) else np.sort(few[:n_slow])
        job = _Job(estimator=estimator, data=data, launches=launches[:, columns], drawn=drawn)
        errors[m], reason = job.errors(asked)
        if reason:
            refused[name] = reason
        if inferences is not None and name in inferences:
            measured = np.sort(few[: min(n_intervals, len(asked))])
            covers[m], widths[m] = job.intervals(measured, inferences[name], level=level, rng=streams[name])
    kept = ~np.isnan(errors).all(axis=1)
    if not kept.any():
        raise RefusalError(
            "no method could be fitted to a launch before the real one: "
            + "; ".join(f"{name}: {reason}" for name, reason in refused.items()),
            code="CB-D017",
            remedy="add history, or other methods",
        )
    volatility, own_volatility = _volatilities(panel, drawn)
    return Backtest(
        methods=tuple(name for name, keep in zip(ready, kept, strict=True) if keep),
        errors=errors[kept],
        launches=launches,
        units=panel.units,
        starts=tuple(panel.periods[i] for i in drawn.starts.tolist()),
        start_index=drawn.starts,
        own=(np.sort(drawn.rows, axis=1) == np.flatnonzero(panel.ever_treated)).all(axis=1),
        volatility=volatility,
        own_volatility=own_volatility,
        nominal_covers=covers[kept],
        nominal_half_widths=widths[kept],
        duration=drawn.duration,
        asked_duration=duration,
        n_pre=panel.n_pre,
        n_treated=panel.n_treated,
        level=level,
        treated_mean=float(np.nanmean(history.outcome[panel.ever_treated][:, -drawn.duration :])),
        refused=refused,
    )


def _sampled(
    history: Panel, panel: Panel, methods: Mapping[str, Estimator[Panel]]
) -> tuple[dict[str, tuple[Estimator[Panel], Panel]], dict[str, str]]:
    """Let every method leave out what its options exclude; return its history, and why others refuse."""
    ready: dict[str, tuple[Estimator[Panel], Panel]] = {}
    refused = {}
    for name, estimator in methods.items():
        try:
            kept = estimator.sample(panel)
        except CausalbenchError as reason:
            refused[name] = reason.message
            continue
        ready[name] = (estimator, history.only(units=np.isin(panel.units, kept.units)))
    return ready, refused


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    """One method, its history, and the placebos; ``launches`` has this history's units."""

    estimator: Estimator[Panel]
    data: Panel
    launches: IntArray
    drawn: Placebos

    def errors(self, asked: IntArray) -> tuple[FloatArray, str]:
        """Return the estimates of the placebos asked for, NaN for others, and why some were refused."""
        found = np.full(len(self.launches), np.nan)
        reasons: list[str] = []
        for start in np.unique(self.drawn.starts[asked]).tolist():
            rows = asked[self.drawn.starts[asked] == start]
            try:
                found[rows] = [fit.effect for fit in self._fits(rows, start)]
            except CausalbenchError as reason:
                reasons += [reason.message] * len(rows)
        if not reasons:
            return found, ""
        often = "" if len(reasons) == len(asked) else f" (in {len(reasons)} of {counted(len(asked), 'placebo')})"
        return found, reasons[0] + often

    def _fits(self, rows: IntArray, start: int) -> Iterable[Fit]:
        data, launches = self._window(start), np.minimum(self.launches[rows], start + self.drawn.duration)
        if isinstance(self.estimator, FitsMany):
            return self.estimator.fit_many(data, launches)
        return (self.estimator.fit(_treating(data, row)) for row in launches)

    def _window(self, start: int) -> Panel:
        """Return the periods up to the end of a window."""
        return self.data.only(periods=np.arange(len(self.data.periods)) < start + self.drawn.duration)

    def intervals(
        self, rows: IntArray, inference: Inference[Panel], *, level: float, rng: Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Return whether the method's own interval holds no effect, and half its width; NaN where there is none."""
        covers, widths = np.full((2, len(self.launches)), np.nan)
        for row, mock in self._mocks(rows):
            try:
                fit = self.estimator.fit(mock)
                interval = inference.infer(self.estimator, mock, fit, level=level, rng=rng).interval
            except CausalbenchError:
                continue  # no interval there: the number of those that there are is in the table
            if interval is not None:
                covers[row] = float(interval.contains(0.0))
                widths[row] = sum(upper - lower for lower, upper in interval.segments) / 2
        return covers, widths

    def _mocks(self, rows: IntArray) -> Iterator[tuple[int, Panel]]:
        for row in rows.tolist():
            start = int(self.drawn.starts[row])
            launch = np.minimum(self.launches[row], start + self.drawn.duration)
            yield row, _treating(self._window(start), launch)


def _treating(data: Panel, launch: IntArray) -> Panel:
    return replace(data, treated=np.arange(len(data.periods)) >= launch[:, None])


def _volatilities(panel: Panel, drawn: Placebos) -> tuple[FloatArray, FloatArray]:
    """Return how volatile each placebo's units were before its window, and the treated ones before the launch."""
    members = drawn.members(len(panel.units))
    found = np.empty((2, len(members)))
    for start in np.unique(drawn.starts).tolist():
        rows = drawn.starts == start
        found[:, rows] = spreads_beside_others(panel.outcome[:, :start], members[rows])
    return found, spreads_beside_others(panel.outcome[:, : panel.n_pre], panel.ever_treated[None])[:, 0]
