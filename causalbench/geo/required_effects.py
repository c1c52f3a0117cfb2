r"""The required effect of a placebo window: how large an effect must have been for the planned test to find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.inference import CATALOGUE as INFERENCES
from causalbench.inference.conformal import cyclic_p_values
from causalbench.numerics.inversion import needed_draws
from causalbench.numerics.persistence import persistence, persistence_limit
from causalbench.numerics.window_scan import required_from_lines
from causalbench.protocols import Estimator, FitsMany, ImposesNull
from causalbench.values import Fit, FloatArray, IntArray, rejects

Test = Callable[[Panel], bool]
"""Tells whether the planned analysis of a panel rejects no effect."""

_TOP = (64.0, 1024.0, 16384.0)
_LADDER = (32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0)
_BELOW = (-0.5, -1.0, -2.0, -4.0, -8.0, -16.0)
_BISECTIONS = 12
_LARGEST_LOSS = 0.999
_PROBE = 0.1


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
    up = next((top * unit for top in _TOP if top * unit >= most or found(top * unit)), np.inf)
    up = min(up, most)
    if not np.isfinite(up) or not found(up):
        return np.inf
    down = -np.inf
    for rung in (*_LADDER, *_BELOW):
        effect = rung * unit
        if effect >= up:
            continue
        if effect <= -_LARGEST_LOSS or not found(effect):
            down = max(effect, -_LARGEST_LOSS)
            break
        up = effect
    if not np.isfinite(down):
        return up
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
    panel: Panel,
    draws: IntArray,
    actual: IntArray,
    *,
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
    panel
        The window's history; who is treated in it doesn't matter.
    draws
        Treated markets of every draw, shape (n_draws, n_units), boolean or 0 and 1.
    actual
        Rows of ``draws`` to take as the actual assignment.
    start
        Index of the window's first period.
    """
    if not isinstance(estimator, FitsMany):
        raise RefusalError(f"{type(estimator).__name__} can't be refitted to other assignments")
    treated = np.asarray(draws, dtype=bool)
    launches = np.where(treated, start, len(panel.periods))
    plain = np.array([fit.effect for fit in estimator.fit_many(panel, launches)])
    needed = needed_draws(level, len(treated))
    found = []
    for j in actual.tolist():
        cells = treated[j][:, None] & (np.arange(len(panel.periods)) >= start)
        raised = lifted(replace(panel, treated=cells), sign * _PROBE)
        slopes = (np.array([fit.effect for fit in estimator.fit_many(raised, launches)]) - plain) / _PROBE
        order = np.append(np.delete(np.arange(len(treated)), j), j)
        lines = sign * plain[order], sign * slopes[order]
        own = abs(plain[j]) * (1 - 1e-9)
        none = int((np.abs(plain) >= own).sum()) < needed
        found.append(Required(effect=float(required_from_lines(*lines, needed)), rejects_nothing=none, persistence=0.0))
    return tuple(found)


def chosen_actuals(n_draws: int, n_wanted: int, rng: np.random.Generator) -> FloatArray:
    """Draw which draws stand for the actual assignment."""
    return np.sort(rng.choice(n_draws, min(n_wanted, n_draws), replace=False))
