r"""Randomization tests of a geo experiment: the design's own draws say what chance alone would have shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.geo.split import CONTROL, LEFT_OUT
from causalbench.numerics.inversion import RankSet, compared, needed_draws, rank_set
from causalbench.protocols import ComparesChanges, Estimator, FitsMany, WeighsPeriods
from causalbench.values import BoolArray, Fit, FloatArray, IntArray, Interval, Uncertainty, frozen_array

Constant = Literal["additive", "proportional"]

_SAME = 1e-10
_LINEAR = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    r"""What an estimator says about every cell under every assignment that the design could have drawn.

    Attributes
    ----------
    effects
        Estimate of each treated cell, shape (n_draws, n_cells); the first row is the actual assignment.
    slopes
        How much the estimate of a cell moves when an effect of one is put on the markets that a cell actually treats,
        shape (n_draws, n_cells, n_cells); the identity in the first row.
    costs
        The same weights applied to what a cell actually spent beyond its history, per market and period; of the other
        cells nothing. Shape (n_draws, n_cells), None without costs.
    enumerated
        Whether the draws are all that the design has.
    n_units
        Number of markets that the draws move.
    """

    effects: FloatArray
    slopes: FloatArray
    costs: FloatArray | None
    enumerated: bool
    n_units: int

    def __post_init__(self) -> None:
        n_draws, n_cells = np.shape(self.effects)
        object.__setattr__(self, "effects", frozen_array(self.effects))
        object.__setattr__(self, "slopes", frozen_array(self.slopes, shape=(n_draws, n_cells, n_cells), name="slopes"))
        if self.costs is not None:
            object.__setattr__(self, "costs", frozen_array(self.costs, shape=(n_draws, n_cells), name="costs"))

    @property
    def estimates(self) -> FloatArray:
        """Estimate of each cell under the actual assignment, shape (n_cells,)."""
        actual: FloatArray = self.effects[0]
        return actual

    def along(self, weights: FloatArray, move: FloatArray) -> tuple[FloatArray, FloatArray]:
        r"""Return effect and slope of the estimates' sum with these weights under every draw, each of shape (n_draws,).

        At a hypothetical value :math:`\ell` of :math:`L\tau` the cells' effects are taken to be
        :math:`\tau(\ell) = \hat\tau + u (\ell - L\hat\tau)` with ``move`` :math:`u` and :math:`Lu = 1`: what isn't tested
        stays at its estimate. A draw then shows :math:`L(a' - C'\tau(\ell))`, linear in :math:`\ell`.
        """
        value = float(weights @ self.estimates)
        rest = self.effects - self.slopes @ (self.estimates - move * value)
        return self.inflated(rest @ weights), self.inflated(self.slopes @ move @ weights)

    def inflated(self, statistic: FloatArray) -> FloatArray:
        """Undo that effects of other cells were estimated from the same markets, one degree of freedom for each."""
        spent = self.effects.shape[1] - 1
        factor = ((self.n_units - 1) / max(self.n_units - 1 - spent, 1)) ** 0.5
        return np.concatenate([statistic[:1], factor * statistic[1:]])


def design_test(
    estimator: Estimator[Panel],
    panel: Panel,
    draws: IntArray,
    *,
    level: float,
    actual: IntArray | None = None,
    constant: Constant = "additive",
) -> Uncertainty:
    r"""Test constant effects of a treated cell among the design's own draws, and invert the test exactly.

    Weights come from the history, so under assignment :math:`D'` the estimate after taking :math:`\tau` off the markets
    actually treated is :math:`a_{D'} - c_{D'}\tau`, and

    .. math:: p(\tau) = \frac{1}{|\mathcal D|} \#\{D' \in \mathcal D : |a_{D'} - c_{D'}\tau| \ge |\hat\tau - \tau|\},

    a union of intervals of :math:`\tau` per draw: p-value and set come from one sort of their ends, without a grid
    (Rosenbaum 2002, section 2.6). Valid whatever the outcomes look like, however they persist, because only the
    assignment is random: the draws must be those of the design, with all its constraints. For a chosen split there are
    none; use an inference of the estimator then.

    Parameters
    ----------
    estimator
        Any whose weights come from the history alone; this is tried out, and an estimator that fails is refused.
    panel
        History and test, every market that the draws move; the treated ones treated from the start of the test.
    draws
        Admissible assignments, drawn uniformly, shape (n_draws, n_units): -1 left out, 0 control, 1 treated. The actual one
        is added, unless the draws are distinct and hold it, so that they are the whole design.
    level
        Confidence level.
    actual
        The actual assignment, shape (n_units,), where it leaves out markets; by default every market not treated is a
        control.
    constant
        ``additive``: the same effect in every market and period; ``proportional``: proportional to each market's mean before
        the test. The p-value of no effect is the same, the set is still in units of the average effect.

    Returns
    -------
    Uncertainty
        One p-value and one set. ``detail``: ``n_assignments``, ``exact`` (the draws are the whole design), ``smallest_p``.

    Raises
    ------
    RefusalError
        Where the estimator's weights depend on what happened during the test.

    Examples
    --------
    >>> import itertools
    >>> import numpy as np
    >>> from causalbench.estimators.did import Did
    >>> outcome = np.array([[5.0, 9.0], [4.0, 5.0], [6.0, 7.0], [3.0, 3.0]])
    >>> treated = np.zeros((4, 2), dtype=bool)
    >>> treated[0, 1] = True
    >>> panel = Panel(outcome=outcome, treated=treated, units=tuple("abcd"), periods=(1, 2))
    >>> found = design_test(Did(), panel, np.eye(4, dtype=int), level=0.7)
    >>> found.p_value, [round(end, 6) for end in found.interval.segments[0]]
    (0.25, [2.0, 4.0])
    """
    assignment = panel.ever_treated.astype(np.int64) if actual is None else np.asarray(actual)
    drawn = drawn_effects(estimator, panel, draws, actual=assignment, constant=constant)
    return inverted(drawn, np.ones(1), np.ones(1), level=level)


def inverted(drawn: Drawn, weights: FloatArray, move: FloatArray, *, level: float) -> Uncertainty:
    """Test every value of a contrast of cells; see :func:`design_test` and :meth:`Drawn.along`."""
    effects, slopes = drawn.along(weights, move)
    a, b, c, scale = compared(effects, slopes)
    far = float((np.abs(slopes) >= abs(slopes[0]) * (1 - _SAME)).mean())
    return from_ranks(rank_set(a, b, c, scale=scale), drawn, level=level, far=far)


def return_test(drawn: Drawn, *, cell: int, level: float) -> tuple[float, Uncertainty]:
    r"""Estimate and test the incremental return of a cell: outcome per unit of money spent.

    Under a return of :math:`\rho` the outcome less :math:`\rho` times the market's spend is what it would have been without
    the test, whoever was treated. So :math:`p(\rho)` counts the draws with
    :math:`|a_{D'} - \rho k_{D'}| \ge |\hat a - \rho \hat k|`, :math:`k` being the same weights applied to the spend: exact,
    also where markets spent unequally, and no ratio of two errors is needed. Its p at 0 is that of the effect.

    Parameters
    ----------
    cell
        Number of the cell, from 0.

    Returns
    -------
    tuple
        The estimated return, and its test.

    Raises
    ------
    RefusalError
        Without costs, or where the cell spent no more than its controls.
    """
    if drawn.costs is None:
        raise RefusalError("there is no cost to divide by", remedy="name the column of the cost: [data] cost")
    own = np.zeros(drawn.effects.shape[1])
    own[cell] = 1.0
    effects, _ = drawn.along(own, own)
    costs = drawn.inflated(drawn.costs[:, cell])
    spread = float(np.abs(drawn.costs).max())
    if abs(costs[0]) <= _SAME * spread or spread == 0:
        raise RefusalError(
            "the treated markets spent no more than their controls, so nothing can be divided by it",
            remedy="check the column of the cost, or read the effect itself",
        )
    a, b, c, scale = compared(effects, costs)
    far = float((np.abs(costs) >= abs(costs[0]) * (1 - _SAME)).mean())
    value = float(effects[0] / costs[0])
    return value, from_ranks(rank_set(a, b, c, scale=scale), drawn, level=level, far=far)


def from_ranks(found: RankSet, drawn: Drawn, *, level: float, far: float) -> Uncertainty:
    """Read p-value and set off one rank set; ``far`` is the p of effects far beyond the data."""
    total = len(drawn.effects)
    segments = found.segments(needed_draws(level, total))
    warnings = []
    if not np.isfinite(segments).all():
        warnings.append(f"unbounded: even effects far beyond the data have p = {far:.3g} among {total} assignments")
    return Uncertainty(
        interval=Interval(segments=segments, level=level, kind="confidence"),
        p_value=found.count(0.0) / total,
        detail={"n_assignments": total, "exact": drawn.enumerated, "smallest_p": far},
        warnings=tuple(warnings),
    )


def drawn_effects(
    estimator: Estimator[Panel],
    panel: Panel,
    draws: IntArray,
    *,
    actual: IntArray,
    constant: Constant = "additive",
    cost: FloatArray | None = None,
) -> Drawn:
    """Estimate every cell under every draw, and how the estimates move with effects and costs of the actual cells.

    Parameters
    ----------
    panel
        History and test; every treated market from the same period on.
    draws, actual
        As in :func:`design_test`, with cells 1, 2, ... treated.
    cost
        Spend by market and period, shape (n_units, n_periods); None without.
    """
    cells, enumerated = with_actual(actual, draws)
    start, n_cells = panel.n_pre, int(np.max(actual, initial=0))
    if n_cells < 1:
        raise RefusalError("no market is treated", remedy="name the cells and their markets")
    _require_sides(cells, n_cells)
    directions = _directions(panel, np.asarray(actual), n_cells, start, constant=constant, cost=cost)
    parts = [_estimates(estimator, panel, cells, k, start, directions) for k in range(1, n_cells + 1)]
    effects = np.stack([part[0] for part in parts], axis=1)
    moved = np.stack([part[1] for part in parts], axis=1)
    own = moved[0, np.arange(n_cells), np.arange(n_cells)]
    costs = None if cost is None else np.stack([moved[:, k, n_cells + k] for k in range(n_cells)], axis=1)
    return Drawn(
        effects=effects,
        slopes=moved[:, :, :n_cells] / own,
        costs=costs,
        enumerated=enumerated,
        n_units=int((np.asarray(actual) > LEFT_OUT).sum()),
    )


def with_actual(actual: IntArray, draws: IntArray) -> tuple[IntArray, bool]:
    """Return the assignments with the actual one first, and whether they are the whole design.

    Draws that are distinct and hold the actual assignment are taken to be all that the design has; it then counts once. Of a
    sample it is one more draw, which keeps the test valid.

    Examples
    --------
    >>> import numpy as np
    >>> cells, whole = with_actual(np.array([0, 1]), np.array([[1, 0], [0, 1]]))
    >>> cells.tolist(), whole
    ([[0, 1], [1, 0]], True)
    """
    actual, draws = np.asarray(actual, dtype=np.int64), np.asarray(draws, dtype=np.int64)
    if draws.ndim != 2 or draws.shape[1] != len(actual) or len(draws) == 0:
        raise ValueError(f"draws have shape {draws.shape}, expected (n_draws, {len(actual)})")
    same: BoolArray = (draws == actual).all(axis=1)
    whole = bool(same.any()) and len(np.unique(draws, axis=0)) == len(draws)
    kept = draws[~same] if whole else draws
    return np.vstack([actual, kept]), whole


def _require_sides(cells: IntArray, n_cells: int) -> None:
    for k in range(n_cells + 1):
        empty = int((~(cells == k).any(axis=1)).sum())
        if empty:
            side = "no control" if k == CONTROL else f"no market in cell {k}"
            raise RefusalError(
                f"{empty} of {len(cells)} draws have {side}, so nothing can be estimated under them",
                remedy="draw from the design that was used: every draw has every cell",
            )


def _directions(
    panel: Panel, actual: IntArray, n_cells: int, start: int, *, constant: Constant, cost: FloatArray | None
) -> FloatArray:
    """Return what is added to the test's outcomes: an effect of one per cell, then its spend; (m, n_units, n_post)."""
    n_post = len(panel.periods) - start
    mine = actual == np.arange(1, n_cells + 1)[:, None]
    size = np.nanmean(panel.outcome[:, :start], axis=1) if constant == "proportional" else np.ones(len(actual))
    unit = np.repeat((mine * size)[:, :, None], n_post, axis=2)
    if cost is None:
        return unit
    beyond = cost[:, start:] - cost[:, :start].mean(axis=1, keepdims=True)
    spent = (mine | (actual == CONTROL))[:, :, None] * beyond
    return np.concatenate([unit, spent])


def _estimates(
    estimator: Estimator[Panel], panel: Panel, cells: IntArray, cell: int, start: int, directions: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return a cell's estimate under every draw, (n_draws,), and how it moves with each direction, (n_draws, m)."""
    if isinstance(estimator, WeighsPeriods):
        raise RefusalError(
            f"{type(estimator).__name__} weighs periods by what the controls did during the test, so its estimate doesn't "
            "move in step with an effect once other markets are drawn",
            remedy="use did, synthetic-control, augmented-synthetic-control or time-based-regression with the design's draws",
        )
    if isinstance(estimator, ComparesChanges):
        return _from_changes(estimator, panel, cells, cell, start, directions)
    effects, responses = np.empty(len(cells)), np.empty((len(cells), len(directions)))
    by_weights = True
    for rows, sub, mask, launches in _batches(panel, cells, cell, start):
        fits = list(_fits(estimator, sub, launches, start))
        effects[rows] = [fit.effect for fit in fits]
        moved = [part[mask] for part in directions]
        if rows[0] == 0:  # the actual assignment comes first: weights that don't predict its answer aren't used
            tried = _refitted(estimator, sub, launches[:1], start, moved, effects[rows[:1]])
            by_weights = _agrees(_weighted(fits[:1], launches[:1], start, moved), tried)
        responses[rows] = (
            _weighted(fits, launches, start, moved)
            if by_weights
            else _refitted(estimator, sub, launches, start, moved, effects[rows])
        )
    _require_linear(estimator, panel, cells, cell, start, directions, effects, responses)
    return effects, responses


def _from_changes(
    estimator: ComparesChanges[Panel], panel: Panel, cells: IntArray, cell: int, start: int, directions: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Difference of means of one number per market, whatever markets a draw leaves out."""
    base = panel.assigned_to(cells[0] == cell, start=start)
    # What all markets share in a period changes no estimate; without it ties stay ties at any level of the outcome.
    centred = replace(base, outcome=base.outcome - np.nanmean(base.outcome, axis=0))
    sizes = np.ones(len(panel.units)) if panel.weights is None else panel.weights
    treated, control = (cells == cell) * sizes, (cells == CONTROL) * sizes
    share = treated / treated.sum(axis=1, keepdims=True) - control / control.sum(axis=1, keepdims=True)
    return share @ estimator.changes(centred), share @ directions.mean(axis=2).T


def _batches(
    panel: Panel, cells: IntArray, cell: int, start: int
) -> Iterator[tuple[IntArray, Panel, BoolArray, IntArray]]:
    """Yield draws that use the same markets: their numbers, the panel of these markets, its mask, and the launches."""
    used = (cells == cell) | (cells == CONTROL)
    groups, number = np.unique(used, axis=0, return_inverse=True)
    number = number.reshape(-1)
    n_periods = len(panel.periods)
    order = [int(number[0]), *(g for g in range(len(groups)) if g != number[0])]
    rows_of = np.split(np.argsort(number, kind="stable"), np.bincount(number).cumsum()[:-1])
    for group in order:
        rows, mask = rows_of[group], groups[group]
        launches = np.where(cells[rows][:, mask] == cell, start, n_periods)
        yield rows, panel.only(units=mask), mask, launches


def _fits(estimator: Estimator[Panel], data: Panel, launches: IntArray, start: int) -> Iterator[Fit]:
    if isinstance(estimator, FitsMany):
        yield from estimator.fit_many(data, launches)
        return
    for row in launches:
        yield estimator.fit(data.assigned_to(row == start, start=start))


def _weighted(fits: list[Fit], launches: IntArray, start: int, moved: list[FloatArray]) -> FloatArray:
    """Apply the weights of fits to each direction, shape (n_fits, m); NaN without weights."""
    if fits[0].weights is None:
        return np.full((len(fits), len(moved)), np.nan)
    treated = launches == start
    share = treated / treated.sum(axis=1, keepdims=True) - np.stack(
        [fit.weights for fit in fits if fit.weights is not None]
    )
    answers: FloatArray = share @ np.stack([part.mean(axis=1) for part in moved], axis=1)
    return answers


def _refitted(
    estimator: Estimator[Panel],
    data: Panel,
    launches: IntArray,
    start: int,
    moved: list[FloatArray],
    effects: FloatArray,
) -> FloatArray:
    """Put each direction on the outcome, fit again, and return by how much the estimates move; (n_fits, m)."""
    answers = np.empty((len(launches), len(moved)))
    for j, part in enumerate(moved):
        step = _step(data, part)
        outcome = data.outcome.copy()
        outcome[:, start:] += step * part
        again = _fits(estimator, replace(data, outcome=outcome), launches, start)
        answers[:, j] = (np.array([fit.effect for fit in again]) - effects) / step
    return answers


def _step(data: Panel, part: FloatArray) -> float:
    largest, spread = float(np.abs(part).max(initial=0.0)), float(np.nanstd(data.outcome))
    return (spread or 1.0) / (largest or 1.0)


def _agrees(one: FloatArray, other: FloatArray) -> bool:
    return bool(np.allclose(one, other, rtol=_LINEAR, atol=_LINEAR * max(float(np.abs(other).max(initial=0.0)), _SAME)))


def _require_linear(
    estimator: Estimator[Panel],
    panel: Panel,
    cells: IntArray,
    cell: int,
    start: int,
    directions: FloatArray,
    effects: FloatArray,
    responses: FloatArray,
) -> None:
    """Take effects off again, under the actual draw and one that makes controls of treated markets: the answer must fit."""
    turned = np.flatnonzero(((cells == CONTROL) & (cells[0] == cell)).any(axis=1))
    for row in (0, *turned[:1].tolist()):
        mask = (cells[row] == cell) | (cells[row] == CONTROL)
        launches = np.where(cells[row][mask] == cell, start, len(panel.periods))[None]
        opposite = [-part[mask] for part in directions]
        moved = -_refitted(estimator, panel.only(units=mask), launches, start, opposite, effects[row : row + 1])
        if not _agrees(moved, responses[row : row + 1]):
            raise RefusalError(
                f"the weights of {type(estimator).__name__} depend on outcomes during the test, so its estimate isn't linear in "
                "the effect and the test can't be inverted exactly",
                remedy="use an inference of the estimator, or another estimator with the design's draws",
            )
