"""p-values of many hypothetical effects: the curve that both the p-value and the set of a test are read off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causalbench.data.panel import Panel
from causalbench.geo.randomization import Drawn
from causalbench.geo.result import RANDOMIZATION, CellReadout, GeoResult
from causalbench.inference.conformal import cyclic_p_values
from causalbench.numerics.covariance import t_p_value
from causalbench.numerics.inversion import compared, rank_set
from causalbench.protocols import Estimator, ImposesNull
from causalbench.values import FloatArray

_POINTS = 241
_REACH = 0.6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """p of every effect of a grid; both of shape (n_effects,)."""

    effects: FloatArray
    p_values: FloatArray


def curve_of(
    result: GeoResult, number: int, *, panel: Panel, estimator: Estimator[Panel], scheme: str, drawn: Drawn | None
) -> Curve | None:
    """Return the curve of a cell's own test; None for inferences whose p of other effects can't be told afterwards.

    Parameters
    ----------
    number
        Of the cell, from 0.
    panel
        The cell's and the controls' markets, treated from the start of the test on.
    scheme
        Of conformal inference.
    drawn
        Of all cells, where the test is one over the design's draws.
    """
    cell = result.cells[number]
    if cell.effect.p_value is None or cell.effect.interval is None:
        return None
    grid = _grid(cell, panel)
    if result.inference == RANDOMIZATION and drawn is not None:
        return Curve(effects=grid, p_values=_over_draws(drawn, number, grid))
    if result.inference == "conformal" and scheme == "blocks" and isinstance(estimator, ImposesNull):
        scale = float(panel.outcome[:, : panel.n_pre].std())
        p = cyclic_p_values(estimator.null_residuals(panel, grid), panel.n_post, scale=scale)
        return Curve(effects=grid, p_values=p)
    if cell.std_error and "df" in cell.detail:
        by_t = [t_p_value((cell.effect.value - effect) / cell.std_error, cell.detail["df"]) for effect in grid.tolist()]
        return Curve(effects=grid, p_values=np.array(by_t))
    return None


def _grid(cell: CellReadout, panel: Panel) -> FloatArray:
    """Return effects around the estimate, zero and the ends of the set, these three among them."""
    interval = cell.effect.interval
    ends = [] if interval is None else [end for ends in interval.segments for end in ends if np.isfinite(end)]
    shown = [0.0, cell.effect.value, *ends]
    low, high = min(shown), max(shown)
    room = max(_REACH * (high - low), float(cell.path.effect[: panel.n_pre].std()))
    return np.unique([*np.linspace(low - room, high + room, _POINTS), *shown])


def _over_draws(drawn: Drawn, number: int, grid: FloatArray) -> FloatArray:
    """Count at every effect the draws that are at least as extreme, as the test itself does."""
    own = np.zeros(drawn.effects.shape[1])
    own[number] = 1.0
    a, b, c, scale = compared(*drawn.along(own, own))
    found = rank_set(a, b, c, scale=scale)
    return np.array([found.count(effect) for effect in grid.tolist()]) / len(drawn.effects)
