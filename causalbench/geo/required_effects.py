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
from causalbench.protocols import Estimator, FitsMany, ImposesNull, LiftsTreated
from causalbench.values import BoolArray, Fit, FloatArray, IntArray, rejects

Test = Callable[[FloatArray], BoolArray]
"""Tells for relative effects, signed so that positive is the expected direction, whether the planned analysis finds them."""

_TOPS = (64.0, 1024.0, 16384.0)
_RUNGS = (32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0, -0.5, -1.0, -2.0, -4.0, -8.0, -16.0)
_ROUNDS = 4
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


def on_circle(estimator: Estimator[Panel], inference: str) -> bool:
    """Tell whether the planned test takes time as a circle, so that periods after a window serve as well as earlier ones."""
    return inference == "conformal" and isinstance(estimator, ImposesNull)


def window_panel(
    split: Split, history: Panel, *, cell: int, start: int, duration: int, estimator: Estimator[Panel], inference: str
) -> Panel:
    """Return the panel that stands for an experiment of ``duration`` periods from index ``start`` on.

    In general it is the history up to the window's end. Conformal inference refits to all periods and compares stretches of
    a circle, so it doesn't matter where on the circle the window lies: the periods after it are put before the first one,
    and the window has nearly as much history as the experiment will have.
    """
    order = np.arange(start + duration)
    if on_circle(estimator, inference):
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
    """Find the effect from which on the planned test rejects, by a ladder whose last step is divided again and again.

    The ladder's rungs are multiples of the noise, the standard deviation of the gap before the window over the treated
    outcome. The step between the largest rung that isn't found and the one above is halved twelve times.
    """
    data = estimator.sample(panel)
    try:
        fit = estimator.fit(data)
        _require_answer(data, fit, inference)
        found = _test_of(data, estimator, inference, level=level, sign=sign, rng=rng)
        (none,) = found(np.zeros(1))
    except RefusalError:
        return Required(effect=np.inf, rejects_nothing=False, persistence=np.nan, refused=True)
    gap = fit.path.effect[: data.n_pre]
    memory = persistence(gap, scale=float(fit.path.observed.std()))
    outcome = abs(float(fit.path.observed[data.n_pre :].mean()))
    unit = float(gap.std()) / outcome if data.scale != "log" and outcome > 0 else float(gap.std())
    effect = _edge(found, max(unit, 1e-6), most=_LARGEST_LOSS if sign < 0 else np.inf)
    return Required(effect=effect, rejects_nothing=bool(none), persistence=memory)


def _edge(found: Test, unit: float, *, most: float) -> float:
    """Return the effect from which on every rung is found, up to the first large one that is."""
    tops = (min(unit * top, most) for top in _TOPS)
    up = next((top for top in tops if found(np.array([top]))[0]), np.inf)
    if not np.isfinite(up):
        return up
    rungs = np.unique(np.clip(unit * np.array(_RUNGS), -_LARGEST_LOSS, up))
    passed = found(rungs)
    if passed.all():
        return float(rungs[0])
    for _ in range(_ROUNDS):
        k = int(np.flatnonzero(~passed)[-1])
        if k == len(rungs) - 1:
            return up
        rungs = np.linspace(rungs[k], rungs[k + 1], 9)
        passed = np.concatenate([[False], found(rungs[1:-1]), [True]])
    return float(rungs[int(np.flatnonzero(~passed)[-1]) + 1])


def _require_answer(data: Panel, fit: Fit, inference: str) -> None:
    """Refuse what the inference would refuse at the readout, where the fast path below doesn't ask it."""
    if inference != "conformal":
        return
    found = persistence(fit.path.effect[: data.n_pre], scale=float(fit.path.observed.std()))
    if found > persistence_limit("conformal, blocks", data.n_pre, data.n_post):
        raise RefusalError("the gap before the window is too persistent")


def _test_of(
    data: Panel, estimator: Estimator[Panel], inference: str, *, level: float, sign: int, rng: np.random.Generator
) -> Test:
    """Return the planned test: for ``conformal`` its p-value at no effect alone, else the inference itself."""
    if inference == "conformal" and isinstance(estimator, LiftsTreated) and data.scale != "log":
        return _together(data, estimator, level=level, sign=sign)
    if inference == "conformal" and isinstance(estimator, ImposesNull):
        return _refitted(data, estimator, level=level, sign=sign)
    planned = INFERENCES.create(inference)
    seed = int(rng.integers(2**32))

    def finds(effect: float) -> bool:
        # Every lift meets the same draws, so that a rejection isn't lost to luck.
        panel = lifted(data, sign * effect)
        same = np.random.default_rng(seed)
        answer = planned.infer(estimator, panel, estimator.fit(panel), level=level, rng=same)
        if answer.p_value is not None:
            return rejects(answer.p_value, level)
        return answer.interval is not None and not answer.interval.contains(0.0)

    return _one_by_one(finds)


def _together(data: Panel, estimator: LiftsTreated[Panel], *, level: float, sign: int) -> Test:
    scale = float(data.outcome[:, : data.n_pre].std())

    def found(effects: FloatArray) -> BoolArray:
        residuals = estimator.lifted_residuals(data, sign * effects)
        p_values = cyclic_p_values(residuals, data.n_post, scale=scale)
        return np.array([rejects(float(p), level) for p in p_values])

    return found


def _refitted(data: Panel, estimator: ImposesNull[Panel], *, level: float, sign: int) -> Test:
    scale = float(data.outcome[:, : data.n_pre].std())

    def finds(effect: float) -> bool:
        residuals = estimator.null_residuals(lifted(data, sign * effect), np.zeros(1))
        return rejects(float(cyclic_p_values(residuals, data.n_post, scale=scale)[0]), level)

    return _one_by_one(finds)


def _one_by_one(finds: Callable[[float], bool]) -> Test:
    """Test effects from above, down to the first that isn't found: those below it needn't be asked."""

    def found(effects: FloatArray) -> BoolArray:
        passed = np.zeros(len(effects), dtype=bool)
        for k in np.argsort(-effects):
            passed[k] = finds(float(effects[k]))
            if not passed[k]:
                break
        return passed

    return found


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


def _estimates(history: Panel, draws: IntArray, cell: int, start: int, estimator: Estimator[Panel]) -> FloatArray:
    """Estimate the effect on one cell under every draw, together where all draws take the same markets."""
    taking = draws[0] >= CONTROL
    together = ((draws >= CONTROL) == taking).all() and ((draws <= CONTROL) | (draws == cell)).all()
    if together and isinstance(estimator, FitsMany):
        launches = np.where(draws[:, taking] == cell, start, len(history.periods))
        return np.array([fit.effect for fit in estimator.fit_many(history.only(units=taking), launches)])
    panels = (Split(cells=draw).panel(history, start=start, cell=cell) for draw in draws)
    return np.array([estimator.fit(panel).effect for panel in panels])
