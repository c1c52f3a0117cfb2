"""How the errors of several metrics' effects move together: the same placebo launches for every metric."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import Generator

from causalbench.artifacts import plain
from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, listing
from causalbench.protocols import Estimator, FitsMany
from causalbench.values import Fit, FloatArray, IntArray, frozen_array

_MOST_STARTS = 8
_FEWEST_DRAWS = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Joint:
    """Joint law of the errors of several metrics.

    Attributes
    ----------
    metrics
        Names.
    errors
        Effects of the same placebo launches, shape (n_metrics, n_placebos); as shares of the outcome where it is positive.
    correlation
        Of the errors, shape (n_metrics, n_metrics).
    n_independent
        How many placebo launches of the data don't overlap: the correlations are known as well as from so many.
    where
        ``history``: launches before the actual one, in any unit. ``controls``: at the actual date, in units without it.
    """

    metrics: tuple[str, ...]
    errors: FloatArray
    correlation: FloatArray
    n_independent: float
    where: str

    def __post_init__(self) -> None:
        n = len(self.metrics)
        object.__setattr__(self, "errors", frozen_array(self.errors))
        object.__setattr__(self, "correlation", frozen_array(self.correlation, shape=(n, n), name="correlation"))
        if self.errors.ndim != 2 or len(self.errors) != n:
            raise ValueError(f"errors have shape {self.errors.shape}, expected one row for each of {n} metrics")

    @property
    def mc_errors(self) -> FloatArray:
        r"""Standard error of each correlation, :math:`(1 - r^2) / \sqrt{n - 1}` (Fisher 1915); shape (n_metrics, n_metrics)."""
        errors: FloatArray = (1 - self.correlation**2) / math.sqrt(max(self.n_independent - 1, 1))
        return errors

    def covariance(self, std_errors: Mapping[str, float]) -> FloatArray:
        r"""Return the covariance of the metrics' effects, shape (n, n), in the order of ``std_errors``.

        .. math:: \Sigma = D R D

        with the correlations R of the placebos and the metrics' own errors D, so that every metric's part of a joint statement
        agrees with its own interval. A metric without placebos counts as uncorrelated.
        """
        names, own = list(std_errors), np.array(list(std_errors.values()), dtype=float)
        places = [self.metrics.index(name) if name in self.metrics else None for name in names]
        found = np.eye(len(names))
        for i, a in enumerate(places):
            for j, b in enumerate(places):
                if i != j and a is not None and b is not None:
                    found[i, j] = self.correlation[a, b]
        covariance: FloatArray = found * np.outer(own, own)
        return covariance

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without the placebos themselves."""
        return {
            "metrics": list(self.metrics),
            "correlation": plain(self.correlation),
            "mc_errors": plain(self.mc_errors),
            "n_placebos": self.errors.shape[1],
            "n_independent": self.n_independent,
            "where": self.where,
        }


def joint_of(errors: Mapping[str, FloatArray], *, n_independent: float | None = None, where: str = "history") -> Joint:
    r"""Return the joint law of errors that were drawn together.

    The correlation about zero, as placebos have no effect:

    .. math:: R_{kl} = \frac{\sum_b e_{kb} e_{lb}}{\sqrt{\sum_b e_{kb}^2 \sum_b e_{lb}^2}}.

    To count metrics as independent that rise and fall together understates the error of their sum, and overstates that of their
    ratio. A metric whose placebos never err is uncorrelated with all others.

    Parameters
    ----------
    errors
        By metric, each of shape (n_placebos,), the same placebo launches in the same order.
    n_independent
        How many of them are independent; all where it isn't given.

    Examples
    --------
    >>> import numpy as np
    >>> found = joint_of({"a": np.array([1.0, -1.0, 2.0, 0.0]), "b": np.array([2.0, -2.0, 4.0, 0.0])})
    >>> found.covariance({"a": 1.0, "b": 3.0}).round(6).tolist()
    [[1.0, 3.0], [3.0, 9.0]]
    """
    rows = np.array([np.asarray(row, dtype=float) for row in errors.values()])
    sizes = np.sqrt((rows**2).sum(axis=1))
    scaled = rows / np.where(sizes > 0, sizes, 1.0)[:, None]
    correlation = np.clip(scaled @ scaled.T, -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    count = rows.shape[1] if n_independent is None else n_independent
    return Joint(metrics=tuple(errors), errors=rows, correlation=correlation, n_independent=float(count), where=where)


def joint_placebos(
    panels: Mapping[str, Panel], estimators: Mapping[str, Estimator[Panel]], *, n_placebos: int, rng: Generator
) -> Joint:
    """Fit the same placebo launches for every metric and return how their effects move together.

    A placebo launch treats as many units as the actual one, drawn from all units that every metric knows, for as many periods,
    at a date before the actual launch, fitted on the periods up to its end only: nothing was launched then, so its effects are
    errors. Where the history is too short for that, it is put at the actual dates into units that never got the launch; then
    units that react to it spoil the placebos. Correlations are of errors as shares of the outcome where that is positive, so
    that large and small units count alike.

    Parameters
    ----------
    panels, estimators
        By metric. Units and periods that some metric doesn't know are left out for all.
    n_placebos
        How many launches to draw.
    rng
        Draws them.

    Raises
    ------
    RefusalError
        When neither the history nor the controls hold enough placebo launches.
    """
    shared = _shared(panels)
    first = next(iter(shared.values()))
    shortest = max(estimator.requires.min_pre for estimator in estimators.values())
    starts = np.arange(shortest, first.n_pre - first.n_post + 1)
    if len(starts) and len(first.units) - first.n_treated >= shortest_pool(estimators):
        where, draws = "history", _in_history(first, starts, n_placebos, rng)
        windows = max((first.n_pre - shortest) // first.n_post, 1)
        independent = (len(first.units) / first.n_treated) * windows
    elif first.n_control >= first.n_treated + shortest_pool(estimators):
        where, draws = "controls", [_among_controls(first, n_placebos, rng)]
        independent = first.n_control / first.n_treated
    else:
        raise RefusalError(
            f"{first.n_pre} periods before the launch and {first.n_control} units without it leave no placebo launches",
            remedy="add history or control units; until then metrics count as uncorrelated",
        )
    errors = {name: _errors(estimators[name], panel, draws, where) for name, panel in shared.items()}
    return joint_of(_complete(errors), n_independent=min(independent, float(n_placebos)), where=where)


def shortest_pool(estimators: Mapping[str, Estimator[Panel]]) -> int:
    """Return how many controls every estimator needs at least."""
    return max(estimator.requires.min_control for estimator in estimators.values())


def _shared(panels: Mapping[str, Panel]) -> dict[str, Panel]:
    """Return every panel on the units and periods that all of them know."""
    units = set.intersection(*(set(panel.units) for panel in panels.values()))
    periods = set.intersection(*(set(panel.periods) for panel in panels.values()))
    kept = {
        name: panel.only(
            units=np.isin(panel.units, list(units)), periods=np.array([p in periods for p in panel.periods])
        )
        for name, panel in panels.items()
    }
    if not units or not periods or any(not panel.treated.any() for panel in kept.values()):
        raise RefusalError(f"the metrics {listing(panels)} share no treated unit", remedy="decide on each by itself")
    return kept


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Draws:
    """Placebo launches that are fitted on the same periods."""

    end: int
    launches: IntArray
    units: np.ndarray[Any, Any]


def _in_history(panel: Panel, starts: IntArray, n_placebos: int, rng: Generator) -> list[_Draws]:
    """Draw units and dates before the launch, at most eight dates, as launches of one date are fitted together."""
    chosen = np.unique(np.linspace(0, len(starts) - 1, min(_MOST_STARTS, len(starts))).round().astype(int))
    found = []
    for part, start in zip(np.array_split(np.arange(n_placebos), len(chosen)), starts[chosen].tolist(), strict=True):
        end = start + panel.n_post
        launches = np.full((len(part), len(panel.units)), end)
        for row in launches:
            row[rng.choice(len(panel.units), panel.n_treated, replace=False)] = start
        found.append(_Draws(end=end, launches=launches, units=np.arange(len(panel.units))))
    return [draws for draws in found if len(draws.launches)]


def _among_controls(panel: Panel, n_placebos: int, rng: Generator) -> _Draws:
    """Draw units without the launch, for its own dates."""
    units = np.flatnonzero(~panel.ever_treated)
    dates = panel.first_treated[panel.ever_treated]
    launches = np.full((n_placebos, len(units)), len(panel.periods))
    for row in launches:
        row[rng.choice(len(units), len(dates), replace=False)] = rng.permutation(dates)
    return _Draws(end=len(panel.periods), launches=launches, units=units)


def _errors(estimator: Estimator[Panel], panel: Panel, draws: list[_Draws], where: str) -> FloatArray:
    """Return the effect of every placebo launch, as a share of the outcome where that is positive; NaN where a fit fails."""
    positive = bool(np.nanmin(panel.outcome) > 0) and panel.scale != "log"
    found: list[float] = []
    for drawn in draws:
        inside = np.isin(np.arange(len(panel.units)), drawn.units)
        part = panel.only(units=inside, periods=np.arange(len(panel.periods)) < drawn.end)
        part = replace(part, treated=np.zeros_like(part.treated)) if where == "history" else part
        for launch, fit in zip(drawn.launches, _fits(estimator, part, drawn.launches), strict=True):
            found.append(math.nan if fit is None else _scaled(fit, part, launch, positive=positive))
    return np.array(found)


def _fits(estimator: Estimator[Panel], panel: Panel, launches: IntArray) -> Iterator[Fit | None]:
    """Fit every placebo launch, together where the estimator can."""
    if isinstance(estimator, FitsMany):
        yield from estimator.fit_many(panel, launches)
        return
    periods = np.arange(len(panel.periods))
    for launch in launches:
        try:
            yield estimator.fit(replace(panel, treated=periods >= launch[:, None]))
        except RefusalError:
            yield None


def _scaled(fit: Fit, panel: Panel, launch: IntArray, *, positive: bool) -> float:
    if not positive:
        return fit.effect
    cells = panel.outcome[np.arange(len(panel.periods)) >= launch[:, None]]
    return fit.effect / float(np.nanmean(cells))


def _complete(errors: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Keep the placebo launches that every metric could be fitted to."""
    kept = np.all([np.isfinite(row) for row in errors.values()], axis=0)
    if kept.sum() < _FEWEST_DRAWS:
        raise RefusalError(
            f"only {int(kept.sum())} placebo launches could be fitted for every metric, {_FEWEST_DRAWS} are needed",
            remedy="add history or control units; until then metrics count as uncorrelated",
        )
    return {name: row[kept] for name, row in errors.items()}
