"""What can be measured on a history before the launch about methods that weigh controls: reach, foresight, error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import CausalbenchError
from causalbench.numerics.donor_gaps import gap_to_hull, gaps_among
from causalbench.protocols import Estimator, FitsMany
from causalbench.values import BoolArray, FloatArray, IntArray

_OUTLYING = 0.1
_ROUNDING = 1e-6
_STRETCHES = 5
_RATE = 3
_MOCKS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where the treated units' mean lies before the launch.

    Attributes
    ----------
    inside
        Not among the tenth of paths that lies furthest from the hull of the others, as in the check ``donor-hull``.
    perfect
        Whether a mixture of more controls than periods hits it exactly.
    alike
        Which controls stand for the treated in mock launches, shape (n_controls,): those no further from the hull of the others
        than the treated units are, and at least the nearer half. Who lies far out is missed by any mixture, and says nothing
        about somebody who doesn't.
    """

    inside: bool
    perfect: bool
    alike: BoolArray


def reach(history: Panel, treated: BoolArray) -> Reach:
    """Measure the distance of the treated units' mean to the controls' convex hull, beside the controls' own distances.

    Parameters
    ----------
    history
        Periods before the launch, without missing cells.
    treated
        Which units launch, shape (n_units,).
    """
    chosen = np.asarray(treated)
    donors, target = history.outcome[~chosen], history.outcome[chosen].mean(axis=0)
    distance = _size(gap_to_hull(target, donors))
    exact = distance <= _ROUNDING * float(donors.std())
    if len(donors) < 3:
        return Reach(inside=exact, perfect=False, alike=np.ones(len(donors), dtype=bool))
    own = np.array([_size(gap) for gap in gaps_among(donors, donors.shape[1])])
    share = (1 + int((own >= distance).sum())) / (1 + len(own))
    return Reach(
        inside=exact or share > _OUTLYING,
        perfect=exact and len(donors) > history.outcome.shape[1],
        alike=own <= max(distance, float(np.median(own))),
    )


def foresight(estimator: Estimator[Panel], history: Panel, treated: BoolArray, *, length: int) -> float | None:
    """Return the error of a method in stretches held out of the history, over that of repeating the last season.

    Up to five stretches at the end, each fitted on what lies before it, never on less than half of the history, as in the
    check ``overfitting``; None for fewer than three stretches, which are a draw and no rate, or where a fit is refused.
    """
    chosen = np.asarray(treated)
    n_pre = len(history.periods)
    length = min(length, n_pre // 3)
    if length < 1:
        return None
    starts = list(range(n_pre - length, max(estimator.requires.min_pre, math.ceil(n_pre / 2)) - 1, -length))[
        :_STRETCHES
    ]
    if len(starts) < _RATE:
        return None
    observed = history.outcome[chosen].mean(axis=0)
    missed, naive = [], []
    for start in starts:
        until = history.only(periods=np.arange(n_pre) < start + length)
        try:
            gap = estimator.fit(until.assigned_to(chosen, start=start)).path.effect[start:]
        except CausalbenchError:
            return None
        season = history.season if history.season <= start else 1
        repeated = observed[start - season + np.arange(length) % season]
        missed.append(float((gap**2).mean()))
        naive.append(float(((observed[start : start + length] - repeated) ** 2).mean()))
    return math.sqrt(sum(missed) / sum(naive)) if sum(naive) > 0 else None


def mock_error(
    estimator: Estimator[Panel],
    controls: Panel,
    *,
    n_treated: int,
    length: int,
    rng: Generator,
    alike: BoolArray | None = None,
) -> float | None:
    """Return the root mean square of the average effect of mock launches in controls, over the last periods of the history.

    At most 100 groups of controls as large as the treated one, the same for every method given equal generators; None where
    too few controls are left to compare with, or a fit is refused.
    """
    n_units, n_pre = controls.outcome.shape
    start = n_pre - min(length, n_pre // 3)
    if n_units - n_treated < 2 or start < max(estimator.requires.min_pre, 1) or not isinstance(estimator, FitsMany):
        return None
    single = np.arange(n_units) if alike is None else np.flatnonzero(alike)
    launches = _mocks(n_units, n_treated, single, start=start, never=n_pre, rng=rng)
    try:
        effects = [fit.effect for fit in estimator.fit_many(controls, launches)]
    except CausalbenchError:
        return None
    return float(np.sqrt(np.mean(np.square(effects))))


def _mocks(n_units: int, n_treated: int, single: IntArray, *, start: int, never: int, rng: Generator) -> IntArray:
    """Return launches of mock groups, shape (n_mocks, n_units): single controls where one is treated, else drawn groups."""
    if n_treated == 1:
        rows = single[np.unique(np.linspace(0, len(single) - 1, min(len(single), _MOCKS)).round().astype(int))][:, None]
    else:
        rows = np.array([rng.choice(n_units, size=n_treated, replace=False) for _ in range(_MOCKS)])
    launches: IntArray = np.full((len(rows), n_units), never)
    np.put_along_axis(launches, rows, start, axis=1)
    return launches


def shadow(history: Panel, launches: Mapping[str, int], *, periods: tuple[Any, ...]) -> Panel:
    """Return the panel as it will be, with outcomes after the first launch that only repeat the history, rising.

    Rules that look at the history and at the number of later periods decide on it as they will on the real panel.

    Parameters
    ----------
    history
        Periods before the first launch.
    launches
        Index of the first treated period of every unit that launches.
    periods
        Labels of all periods, those of the history first.
    """
    n_pre, n_all = len(history.periods), len(periods)
    again = np.concatenate([np.arange(n_pre), n_pre - 1 - (np.arange(n_all - n_pre)[::-1] % n_pre)])
    first = np.array([launches.get(unit, n_all) for unit in history.units])
    means = np.nanmean(history.outcome, axis=1, keepdims=True)
    filled = np.where(np.isnan(history.outcome), means, history.outcome)
    # A slow rise, so that no unit looks as if its outcome never varied.
    rise = 0.01 * (float(np.nanstd(history.outcome)) or 1.0) * np.arange(1, n_all - n_pre + 1)
    outcome = np.hstack([history.outcome, filled[:, again[n_pre:]] + rise])
    return Panel(
        outcome=outcome,
        treated=np.arange(n_all) >= first[:, None],
        units=history.units,
        periods=periods,
        metric=history.metric,
        unit_name=history.unit_name,
        frequency=history.frequency,
        season=history.season,
        additive=history.additive,
        scale=history.scale,
        covariate_names=history.covariate_names,
        covariates=history.covariates[:, again],
        weights=history.weights,
        cluster=history.cluster,
        cost=None if history.cost is None else np.nan_to_num(history.cost[:, again]),
    )


def _size(gap: FloatArray) -> float:
    return float(np.sqrt((gap**2).mean()))
