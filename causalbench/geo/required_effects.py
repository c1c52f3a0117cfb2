"""The required effect of a placebo window: how large an effect must have been for the planned test to find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.geo.split import CONTROL, Split
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.inference.conformal import cyclic_p_values
from causalbench.numerics.inversion import needed_draws
from causalbench.numerics.persistence import persistence, persistence_limit
from causalbench.numerics.window_scan import required_from_lines
from causalbench.protocols import Estimator, FitsMany, ImposesNull
from causalbench.values import Fit, FloatArray, IntArray, rejects

Test = Callable[[Panel], bool]
"""Tells whether the planned analysis of a panel rejects no effect."""

_TOPS = (64.0, 1024.0, 16384.0)
_RUNGS = (32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0, -0.5, -1.0, -2.0, -4.0, -8.0, -16.0)
_BISECTIONS = 12
_LARGEST_LOSS = 0.999
_PROBE = 0.1
_TIE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """What one window needs.

    Attributes
    ----------
    effect
        Relative effect from which on the test rejects, signed so that positive is the expected direction; negative where
        it rejects even some effects of the other direction; infinite where no effect is found, or the test is refused.
    rejects_nothing
        Whether the test rejects although nothing happened.
    persistence
        Estimated autocorrelation of the gap before the window.
    refused
        Whether the planned inference refuses this window.
    """

    effect: float
    rejects_nothing: bool
    persistence: float
    refused: bool = False


def lifted(panel: Panel, effect: float) -> Panel:
    """Return the panel with a relative effect in its treated cells; on the log scale it is added as its logarithm."""
    if panel.scale == "log":
        return replace(panel, outcome=panel.outcome + np.log1p(effect) * panel.treated)
    return replace(panel, outcome=panel.outcome * (1 + effect * panel.treated))


def window_panel(
    split: Split, history: Panel, *, cell: int, start: int, duration: int, estimator: Estimator[Panel], inference: str
) -> Panel:
    """Return the panel that stands for an experiment of ``duration`` periods from index ``start`` on.

    In general it is the history up to the window's end. Conformal inference refits to all periods and compares stretches of
    a circle, so it doesn't matter where on the circle the window lies: the periods after it are put before the first one,
    and the window has nearly as much history as the experiment will have.
    """
    order = np.arange(start + duration)
    if inference == "conformal" and isinstance(estimator, ImposesNull):
        order = np.concatenate([np.arange(start + duration, len(history.periods)), order])
    moved = replace(
        history,
        outcome=history.outcome[:, order],
        treated=np.zeros((len(history.units), len(order)), dtype=bool),
        covariates=history.covariates[:, order],
        periods=history.periods[: len(order)],
    )
    return split.panel(moved, start=len(order) - duration, cell=cell)


def required_effect(
    panel: Panel, *, estimator: Estimator[Panel], inference: str, level: float, sign: int, rng: np.random.Generator
) -> Required:
    """Find the effect from which on the planned test rejects, by a ladder from above and bisection.

    The ladder's rungs are multiples of the noise, the standard deviation of the gap before the window over the treated
    outcome. The largest rung that isn't rejected and the rejected one above it are bisected to 1 part in 4,096.
    """
    data = estimator.sample(panel)
    try:
        fit = estimator.fit(data)
        _require_answer(data, fit, inference)
        test = _test_of(estimator, inference, level, rng)
        none = test(data)
    except RefusalError:
        return Required(effect=np.inf, rejects_nothing=False, persistence=np.nan, refused=True)
    gap = fit.path.effect[: data.n_pre]
    memory = persistence(gap, scale=float(fit.path.observed.std()))
    level_of = abs(float(fit.path.observed[data.n_pre :].mean()))
    unit = float(gap.std()) / level_of if data.scale != "log" and level_of > 0 else float(gap.std())

    def found(effect: float) -> bool:
        return none if effect == 0 else test(lifted(data, sign * effect))

    effect = _edge(found, max(unit, 1e-6), most=_LARGEST_LOSS if sign < 0 else np.inf)
    return Required(effect=effect, rejects_nothing=none, persistence=memory)


def _edge(found: Callable[[float], bool], unit: float, *, most: float) -> float:
    """Return the smallest effect above which every rung is found."""
    up = next((top * unit for top in _TOPS if top * unit < most and found(top * unit)), np.inf)
    if not np.isfinite(up):
        if not np.isfinite(most) or not found(most):
            return np.inf
        up = most
    for rung in _RUNGS:
        down = max(rung * unit, -_LARGEST_LOSS)
        if down >= up:
            continue
        if not found(down):
            return _bisected(found, up, down)
        up = down
    return up


def _bisected(found: Callable[[float], bool], up: float, down: float) -> float:
    for _ in range(_BISECTIONS):
        middle = (up + down) / 2
        up, down = (middle, down) if found(middle) else (up, middle)
    return up


def _require_answer(data: Panel, fit: Fit, inference: str) -> None:
    """Refuse what the inference would refuse at the readout, where the fast path below doesn't ask it."""
    if inference != "conformal":
        return
    found = persistence(fit.path.effect[: data.n_pre], scale=float(fit.path.observed.std()))
    if found > persistence_limit("conformal, blocks", data.n_pre, data.n_post):
        raise RefusalError("the gap before the window is too persistent")


def _test_of(estimator: Estimator[Panel], inference: str, level: float, rng: np.random.Generator) -> Test:
    """Return the planned test: for ``conformal`` its p-value at no effect alone, else the inference itself."""
    if inference == "conformal" and isinstance(estimator, ImposesNull):
        imposes: ImposesNull[Panel] = estimator

        def conformal(data: Panel) -> bool:
            residuals = imposes.null_residuals(data, np.zeros(1))
            scale = float(data.outcome[:, : data.n_pre].std())
            return rejects(float(cyclic_p_values(residuals, data.n_post, scale=scale)[0]), level)

        return conformal
    planned = INFERENCES.create(inference)
    state = rng.bit_generator.state

    def asked(data: Panel) -> bool:
        # Every lift meets the same draws, so that a rejection isn't lost to luck.
        same = np.random.Generator(type(rng.bit_generator)())
        same.bit_generator.state = state
        answer = planned.infer(estimator, data, estimator.fit(data), level=level, rng=same)
        if answer.p_value is not None:
            return rejects(answer.p_value, level)
        return answer.interval is not None and not answer.interval.contains(0.0)

    return asked


def required_by_draws(
    history: Panel,
    draws: IntArray,
    actual: IntArray,
    *,
    cell: int,
    estimator: Estimator[Panel],
    level: float,
    sign: int,
    start: int,
) -> tuple[Required, ...]:
    r"""Find the required effect of a randomization test in one window, for several draws as the actual one.

    Every draw's estimate is a line in the effect, :math:`a_d + \delta c_d`: weights are fitted before the window, and the
    effect lifts the cells of the draw taken as actual. It is as extreme as the actual one between two effects, so the
    required effect is exact; see :mod:`causalbench.numerics.window_scan`. For estimators whose weights look at outcomes
    in the window (synthetic-did) the line is a chord through an effect of 10%.

    Parameters
    ----------
    history
        Outcomes to the end of the window; nobody is treated.
    draws
        Cell of every market in every draw, shape (n_draws, n_units).
    actual
        Rows of ``draws`` to take as the actual assignment.
    cell
        The treated cell that is tested; a draw's markets in other cells stand aside.
    start
        Index of the window's first period.
    """
    after = np.arange(len(history.periods)) >= start
    plain = _estimates(history, draws, cell, start, estimator)
    needed = needed_draws(level, len(draws))
    found = []
    for j in actual.tolist():
        cells = (draws[j] == cell)[:, None] & after
        raised = replace(lifted(replace(history, treated=cells), sign * _PROBE), treated=history.treated)
        slopes = (_estimates(raised, draws, cell, start, estimator) - plain) / _PROBE
        order = np.append(np.delete(np.arange(len(draws)), j), j)
        edge = required_from_lines(sign * plain[order], sign * slopes[order], needed)
        none = int((np.abs(plain) >= abs(plain[j]) * (1 - _TIE)).sum()) < needed
        found.append(Required(effect=edge, rejects_nothing=none, persistence=0.0))
    return tuple(found)


def _estimates(
    history: Panel, draws: IntArray, cell: int, start: int, estimator: Estimator[Panel]
) -> FloatArray:
    """Estimate the effect on one cell under every draw, together where all draws take the same markets."""
    taking = draws[0] >= CONTROL
    together = ((draws >= CONTROL) == taking).all() and ((draws <= CONTROL) | (draws == cell)).all()
    if together and isinstance(estimator, FitsMany):
        launches = np.where(draws[:, taking] == cell, start, len(history.periods))
        return np.array([fit.effect for fit in estimator.fit_many(history.only(units=taking), launches)])
    panels = (Split(cells=draw).panel(history, start=start, cell=cell) for draw in draws)
    return np.array([estimator.fit(panel).effect for panel in panels])
