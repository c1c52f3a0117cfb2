r"""What interim looks cost and bring, before the test: the chance to stop by each look, beside one look at the end.

One stretch of the user's own history plays the test. Each of some draws of the design plays the actual assignment, and an
effect is added to its treated markets. The statistics under every other draw then are :math:`a_{d'k} + c_{d'd} \delta`, so an
effect needs no refit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import DataError
from causalbench.geo.split import CONTROL
from causalbench.numerics.spending import allowed_stops, stop_looks
from causalbench.values import FloatArray, IntArray

_SLACK = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class LookPower:
    """How one effect fares.

    Attributes
    ----------
    effect
        Average effect per treated market and period, in units of the outcome.
    stopped_by
        Share of experiments stopped by each look.
    power, fixed_power
        Share stopped by any look, and share that one look at the end would call an effect, at the same error rate.
    mc_error
        Monte Carlo error of ``power``.
    mean_periods
        Mean length of the test when it ends at its stop.
    """

    effect: float
    stopped_by: tuple[float, ...]
    power: float
    fixed_power: float
    mc_error: float
    mean_periods: float


def power_of_looks(
    history: Panel,
    draws: IntArray,
    *,
    start: int,
    looks: Sequence[int],
    level: float,
    effects: Sequence[float],
    n_actual: int = 200,
    cell: int = 1,
) -> tuple[LookPower, ...]:
    """Return the power of a plan of looks for differences of mean changes, on one window of the history.

    Parameters
    ----------
    history
        Outcomes before the test, complete.
    draws
        Assignments of the design, shape (n_draws, n_units); the first ``n_actual`` of them play the actual one.
    start
        Index of the period in which the played test starts; it ends after ``looks[-1]`` periods.
    looks
        Periods elapsed at each look, ascending.
    level
        Confidence level of all looks together.
    effects
        In units of the outcome, per treated market and period.
    n_actual
        How many assignments play the actual one.
    cell
        The treated cell.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.data.simulate import factor_panel
    >>> panel = factor_panel(n_units=40, n_periods=88, n_treated=20, n_post=28, effect=0.0, rho=0.5, seed=0)
    >>> draws = np.random.default_rng(0).permuted(np.tile(panel.ever_treated.astype(int), (20_000, 1)), axis=1)
    >>> none, one = power_of_looks(
    ...     panel, draws, start=60, looks=(7, 14, 21, 28), level=0.95, effects=(0.0, 1.0), n_actual=50
    ... )
    >>> none.power <= 0.15, one.power > 0.9, one.mean_periods < 28
    (True, True, True)
    """
    if start < 1 or start + looks[-1] > len(history.periods):
        raise DataError(
            f"a test of {looks[-1]} periods from period {start} on doesn't fit into {len(history.periods)} periods",
            remedy="give a longer history, or plan a shorter test",
        )
    rows = np.asarray(draws)
    treated = (rows == cell).astype(float)
    control = (rows == CONTROL).astype(float)
    weights = treated / treated.sum(axis=1, keepdims=True) - control / control.sum(axis=1, keepdims=True)
    before = history.outcome[:, :start].mean(axis=1)
    changes = np.stack([history.outcome[:, start : start + n].mean(axis=1) - before for n in looks], axis=1)
    estimates, slopes = weights @ (changes - changes.mean(axis=0)), weights @ treated[:n_actual].T
    return tuple(_row(effect, estimates, slopes, looks=np.array(looks), level=level) for effect in map(float, effects))


def _row(effect: float, estimates: FloatArray, slopes: FloatArray, *, looks: IntArray, level: float) -> LookPower:
    n_draws, n_actual = slopes.shape
    allowed = allowed_stops(looks / looks[-1], 1 - level, n_draws)
    once = allowed_stops(np.ones(1), 1 - level, n_draws)
    slack = _SLACK * float(np.abs(estimates).max())
    stops, fixed = np.empty(n_actual, dtype=int), np.empty(n_actual, dtype=bool)
    for i in range(n_actual):
        sizes = np.abs(estimates + effect * slopes[:, [i]])
        stops[i] = stop_looks(sizes, allowed, slack=slack)[0][i]
        fixed[i] = stop_looks(sizes[:, -1:], once, slack=slack)[0][i] == 0
    power = float((stops < len(looks)).mean())
    return LookPower(
        effect=effect,
        stopped_by=tuple(float((stops <= k).mean()) for k in range(len(looks))),
        power=power,
        fixed_power=float(fixed.mean()),
        mc_error=float(np.sqrt(power * (1 - power) / n_actual)),
        mean_periods=float(looks[np.minimum(stops, len(looks) - 1)].mean()),
    )
