r"""What GeoLift's test says about a launch, beside what the same residuals say when p-value and set come from one test.

GeoLift judges a launch by the sum of the **absolute** residuals after it, among random orders of the periods, and inverts the
same statistic for its interval. A constant effect that is taken off moves the residuals after the launch up or down; it
can't make them quieter. Where they vary more than those before, the sum of their absolute values is extreme at **every**
effect, and the confidence set is empty, beside a small p-value that reads like proof.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.estimators.augmented_synthetic_control import AugmentedSyntheticControl
from causalbench.estimators.synthetic_control import SyntheticControl
from causalbench.inference._dates import require_one_date
from causalbench.inference.conformal import cyclic_p_values
from causalbench.values import Fit, FloatArray, rejects
from causalbench.wording import number

_GRID = 401
_DRAWS = 1_999
_SEEDS = 20
_REACH = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One test of a constant effect, and its inversion on a grid.

    Attributes
    ----------
    statistic
        ``absolute``: sum of the absolute residuals after the launch; ``signed``: absolute value of their sum.
    permutation
        ``iid``: periods in random order; ``blocks``: time taken as a circle and shifted.
    p_value
        Of no effect.
    segments
        Every effect of the grid that isn't rejected, in runs; empty where all are rejected.
    largest_p, best
        The largest p of the grid and where it is.
    p_values
        At every effect of the grid, shape (n_effects,).
    """

    statistic: str
    permutation: str
    p_value: float
    segments: tuple[tuple[float, float], ...]
    largest_p: float
    best: float
    p_values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Showcase:
    """GeoLift's readout of one launch, reproduced, beside the honest one.

    Attributes
    ----------
    average_effect, relative, incremental
        Effect per treated unit and period (GeoLift: ATT), as a share of the counterfactual, and in total.
    l2_imbalance, scaled_l2
        Root of the summed squared gaps before the launch, and its ratio to that of equal weights.
    ridge_average_effect, ridge_incremental, ridge_bias
        Of the ridge-augmented model that GeoLift calls best.
    effects
        The grid of constant effects, shape (n_effects,).
    schemes
        The absolute statistic under ``iid`` and ``blocks``, and the signed one under ``blocks``; see :class:`Scheme`.
    iid_p_range
        Smallest and largest p of no effect of the iid absolute statistic over 20 seeds of 1,000 draws each.
    noise_ratio
        Mean absolute residual after the launch, at the constant effect that makes it smallest, by that of all periods before.
    why
        What makes the set empty, in words; an empty text where it isn't.
    """

    level: float
    average_effect: float
    relative: float | None
    incremental: float
    l2_imbalance: float
    scaled_l2: float
    ridge_average_effect: float
    ridge_incremental: float
    ridge_bias: float
    effects: tuple[float, ...]
    schemes: tuple[Scheme, ...]
    iid_p_range: tuple[float, float]
    noise_ratio: float
    why: str


def showcase(panel: Panel, *, level: float, rng: Generator) -> Showcase:
    r"""Compute GeoLift's numbers of a launch and three tests of the same residuals.

    Every test refits synthetic control on changes to **all** periods under each hypothetical constant effect
    :math:`\tau` and looks at the residuals :math:`\hat u_t(\tau)` of the treated mean (Chernozhukov, Wuthrich, Zhu 2021,
    section 2):

    .. math::
        S^{abs}(\tau) = \sum_{t > T_0} |\hat u_t(\tau)|,\qquad S^{sign}(\tau) = \Bigl|\sum_{t > T_0} \hat u_t(\tau)\Bigr|

    Parameters
    ----------
    panel
        One launch date; the treated units' mean is compared.
    level
        Confidence level of the sets.
    rng
        Draws the random orders of the iid scheme.

    Raises
    ------
    RefusalError
        When units launch at different dates, or the method can't be fitted.

    Examples
    --------
    >>> import numpy as np
    >>> import causalbench as cb
    >>> found = showcase(cb.load_panel("geolift"), level=0.9, rng=np.random.default_rng(0))
    >>> iid, blocks, signed = found.schemes
    >>> iid.p_value < 0.02, iid.segments, round(signed.p_value, 4)
    (True, (), 0.1143)
    """
    require_one_date(panel, "GeoLift's test")
    estimator = SyntheticControl(fixed_effects="unit")
    fit = estimator.fit(panel)
    ridge = AugmentedSyntheticControl(fixed_effects="unit").fit(panel)
    effects = _grid(fit, panel)
    residuals = estimator.null_residuals(panel, effects)
    n_post, cells = panel.n_post, panel.n_treated_cells
    drawn = _orders(len(panel.periods), n_post, rng, n_draws=_DRAWS)
    schemes = (
        _scheme("absolute", "iid", effects, absolute_iid(residuals, drawn), level),
        _scheme("absolute", "blocks", effects, cyclic_p_values(np.abs(residuals), n_post), level),
        _scheme("signed", "blocks", effects, cyclic_p_values(residuals, n_post), level),
    )
    at_zero = residuals[np.searchsorted(effects, 0.0)][None]
    seeds = [
        float(absolute_iid(at_zero, _orders(len(panel.periods), n_post, rng, n_draws=1_000))[0]) for _ in range(_SEEDS)
    ]
    ratio = float((np.abs(residuals[:, -n_post:]).mean(axis=1) / np.abs(residuals[:, :-n_post]).mean(axis=1)).min())
    counterfactual = panel.treated_mean - fit.effect
    return Showcase(
        level=level,
        average_effect=fit.effect,
        relative=fit.effect / counterfactual if counterfactual > 0 else None,
        incremental=fit.effect * cells,
        l2_imbalance=math.sqrt(fit.diagnostics["pre_mspe"] * panel.n_pre),
        scaled_l2=_scaled(fit, panel),
        ridge_average_effect=ridge.effect,
        ridge_incremental=ridge.effect * cells,
        ridge_bias=float(ridge.diagnostics["bias"]),
        effects=tuple(effects.tolist()),
        schemes=schemes,
        iid_p_range=(min(seeds), max(seeds)),
        noise_ratio=ratio,
        why="" if schemes[0].segments else _why(schemes[0], ratio, effects, level),
    )


def absolute_iid(residuals: FloatArray, drawn: FloatArray) -> FloatArray:
    """Return p of the sum of absolute residuals at each effect, shape (n_effects,).

    Parameters
    ----------
    residuals
        Shape (n_effects, n_periods), the periods after the launch last.
    drawn
        Zeros and ones, shape (n_draws, n_periods): the periods that a random order puts after the launch.
    """
    sizes = np.abs(residuals)
    n_post = int(drawn[0].sum())
    own = sizes[:, -n_post:].sum(axis=1)
    extreme = (sizes @ drawn.T >= (own * (1 - 1e-10))[:, None]).sum(axis=1)
    shares: FloatArray = (1 + extreme) / (1 + len(drawn))
    return shares


def _grid(fit: Fit, panel: Panel) -> FloatArray:
    """Return constant effects around the estimate and zero, zero and the estimate among them."""
    spread = max(float(fit.path.effect[: panel.n_pre].std()), abs(fit.effect), 1e-9 * panel.largest)
    grid: FloatArray = np.unique([*np.linspace(-_REACH * spread, _REACH * spread + fit.effect, _GRID), 0.0, fit.effect])
    return grid


def _orders(n_periods: int, n_post: int, rng: Generator, *, n_draws: int) -> FloatArray:
    chosen = np.argpartition(rng.random((n_draws, n_periods)), n_post - 1, axis=1)[:, :n_post]
    drawn = np.zeros((n_draws, n_periods))
    np.put_along_axis(drawn, chosen, 1.0, axis=1)
    return drawn


def _scheme(statistic: str, permutation: str, effects: FloatArray, p: FloatArray, level: float) -> Scheme:
    kept = np.array([not rejects(float(value), level) for value in p])
    steps = np.diff(np.concatenate([[False], kept, [False]]).astype(int))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1
    plateau = np.flatnonzero(p >= p.max() - 1e-12)
    return Scheme(
        statistic=statistic,
        permutation=permutation,
        p_value=float(p[np.searchsorted(effects, 0.0)]),
        segments=tuple((float(effects[a]), float(effects[b])) for a, b in zip(starts, ends, strict=True)),
        largest_p=float(p.max()),
        best=float(effects[plateau].mean()),
        p_values=tuple(p.tolist()),
    )


def _scaled(fit: Fit, panel: Panel) -> float:
    """Return the imbalance before the launch as a share of what equal weights of all controls leave."""
    before = panel.outcome[:, : panel.n_pre]
    changes = before - before.mean(axis=1, keepdims=True)
    treated = panel.ever_treated
    equal = float(((changes[treated].mean(axis=0) - changes[~treated].mean(axis=0)) ** 2).sum())
    own = float(fit.diagnostics["pre_mspe"]) * panel.n_pre
    return math.sqrt(own / equal) if equal > 0 else math.nan


def _why(iid: Scheme, ratio: float, effects: FloatArray, level: float) -> str:
    return (
        f"Even at the constant effect that suits the residuals after the launch best, they are {ratio:.2f} times as large "
        f"as before it. A constant effect moves them and can't make them quieter, so the sum of their absolute values is "
        f"extreme at every effect: from {number(float(effects[0]))} to {number(float(effects[-1]))} the largest p is "
        f"{iid.largest_p:.3g}, below the {1 - level:.3g} that {100 * level:g}% asks for. The small p of no effect "
        f"({iid.p_value:.3g}) says that the periods after the launch differ from those before, and not that an effect of "
        "the estimated size explains it."
    )
