"""Prediction intervals: how wrong the weights may be, and how much the outcome without the launch varies by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.inference._dates import require_one_date
from causalbench.numerics.gaps import rmspe_ratio
from causalbench.numerics.persistence import persistence
from causalbench.numerics.simplex import GAP_LIMIT
from causalbench.numerics.weight_uncertainty import Extremes, extreme_changes
from causalbench.protocols import Estimator
from causalbench.values import Fit, FloatArray, Interval, MethodCard, PathBands, Uncertainty

_DRAWN = 200
_LARGEST_BOUND = 0.2
_NO_INTERCEPT = 1e-9
_MOST_PERSISTENT = 0.99
_SMALLEST_P = 4 / (_DRAWN + 1)
_BISECTIONS = 60
_SHORTEST = 4  # two pairs of neighbours always lie on a line


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    r"""Interval of the realised effect from a prediction interval of the outcome without the launch.

    The error of a counterfactual is :math:`p_t'\delta` from weights that are off by :math:`\delta`, and the noise
    :math:`e_t` of the period itself; each part gets half of :math:`\alpha`:

    .. math:: \tau_t \in \bigl[\hat\tau_t + M^L_t - \bar e - \varepsilon,\;
        \hat\tau_t + M^U_t - \bar e + \varepsilon \bigr], \qquad
        \varepsilon = \hat\sigma \sqrt{2 \log(4 / \alpha)}

    (Cattaneo, Feng, Titiunik 2021, sections 3 and 4). **In sample**: 200 draws
    :math:`G \sim N(0, X' \mathrm{diag}(\hat u_t^2) X)`, with the degrees of freedom of HC1, allow the weights
    :math:`\{\delta' X'X \delta - 2 G'\delta \le 0\}` on the simplex; :math:`M^L, M^U` are the :math:`\alpha/4` and
    :math:`1 - \alpha/4` quantiles over draws of the least and the largest :math:`p_t'\delta`. Weights below a bound that
    shrinks with the length of the history (at most .2) may only grow. **Out of sample**: the sub-Gaussian bound (their
    section 4) with mean and variance of the gap before the launch. The average effect has the direction :math:`\bar p`,
    and so has every running mean of h periods; the noise of such a mean has the variance that the estimated
    persistence of the gap gives it, :math:`\hat\sigma^2 h^{-2} (h + 2 \sum_{k<h} (h - k) \hat\rho^k)`, never less than
    under independence. The authors' software bounds a mean by the noise of one period instead, 1.3 to 2 times as wide:
    in simulated panels it detects an effect of one noise standard deviation in at most 5% of draws, this in 4 to 18%.

    The parameter is the effect that happened, and the level bounds the share of datasets whose interval misses it.
    Intervals of all levels are nested, and the p-value is the smallest :math:`\alpha` whose interval leaves out zero,
    .02 at least: quantiles of 200 draws know no less.
    Both parts are bounds, so intervals are wide: at nominal 90% and autocorrelation 0 / .5 / .8 / .95 they miss the effect
    in at most 1 / 3 / 6 / 8% of simulated panels, and persistent gaps need no refusal.

    Raises
    ------
    RefusalError
        When weights aren't those of a simplex fitted to the outcomes of the history, which the constraint set is about; with
        several launch dates; or with fewer than four periods before the launch: three have two pairs of neighbours, which
        always lie on a line.
    """

    card: ClassVar[MethodCard] = MethodCard(
        title="Prediction intervals (prediction)",
        summary="How wrong may the weights be, and how much does the outcome vary by itself? By period and on average.",
        equation=r"\hat\tau_t + M^L_t - \bar e - \varepsilon \leq \tau_t \leq \hat\tau_t + M^U_t - \bar e + \varepsilon, "
        r"\quad \varepsilon = \hat\sigma \sqrt{2 \log(4 / \alpha)}",
        std_error="none; quantiles of simulated extremes of the weights' error plus a sub-Gaussian bound of the noise",
        assumptions=(
            "Donors are given; errors before and after the launch are sub-Gaussian with the same mean and variance.",
            "Errors are an AR(1) process; the bound of means rests on its estimated persistence.",
        ),
        not_when=(
            "Weights that weren't fitted to the outcomes of the history alone.",
            "Errors with heavy tails, or another variance after the launch.",
        ),
        edge_cases=(
            "Bands of running sums are those of running means, times the number of periods.",
            "The p-value is the smallest level whose interval leaves out zero, .02 at least; above 98% intervals are unbounded.",
            "A perfect fit before the launch doesn't tell how much the outcome varies by itself: no interval and no p-value.",
        ),
        references=(
            (
                "Cattaneo, Feng, Titiunik (2021), Journal of the American Statistical Association 116, 1865-1880",
                "https://doi.org/10.1080/01621459.2021.1979561",
            ),
            (
                "Cattaneo, Feng, Palomba, Titiunik (2025), Journal of Statistical Software 113 (scpi)",
                "https://doi.org/10.18637/jss.v113.i01",
            ),
        ),
    )

    def infer(self, estimator: Estimator[Panel], data: Panel, fit: Fit, *, level: float, rng: Generator) -> Uncertainty:
        """Return the interval of the average effect with its p-value, and bands by period, all from the same draws."""
        _require(data)
        if rmspe_ratio(fit.path.effect, data.n_pre, spread=float(fit.path.observed.std())) is None:
            warning = (
                "not computed: the fit before the launch is perfect, so its gap doesn't tell how much the outcome varies by "
                "itself"
            )
            return Uncertainty(interval=None, p_value=None, warnings=(warning,))
        alone, running = np.eye(data.n_post), np.tril(np.ones((data.n_post, data.n_post)))
        ends = ends_of_means(estimator, data, fit, np.concatenate([alone, running]), rng=rng)
        low, high = ends.at(1 - level)
        unbounded = f"unbounded: {_DRAWN} draws allow no p below {_SMALLEST_P:.3g}"
        return Uncertainty(
            interval=Interval(segments=((float(low[-1]), float(high[-1])),), level=level, kind="confidence"),
            p_value=ends.p_value(),
            path_bands=_bands(low, high, n_pre=data.n_pre, level=level),
            detail={
                "noise_bound": float(ends.noise[-1]) * math.sqrt(2 * math.log(4 / (1 - level))),
                "weight_bound": ends.weight_bound,
                "persistence": ends.persistence,
                "smallest_p": _SMALLEST_P,
            },
            warnings=() if np.isfinite(low[-1]) else (unbounded,),
        )


def _require(data: Panel) -> None:
    require_one_date(data, "a prediction interval")
    if data.n_pre < _SHORTEST:
        raise RefusalError(
            f"prediction intervals rest on mean, variance and autocorrelation of the gap before the launch, which takes at "
            f"least {_SHORTEST} periods, the data have {data.n_pre}",
            code="CB-D017",
            remedy="add history, or use placebo-rank or refined-placebo, which compare units instead of periods",
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ends:
    """Intervals of every level for several means of the effect; arrays have one entry per mean."""

    extremes: Extremes
    centre: FloatArray
    noise: FloatArray
    weight_bound: float
    persistence: float

    def at(self, alpha: float) -> tuple[FloatArray, FloatArray]:
        """Return lower and upper ends at one minus this level, each of shape (n_means,)."""
        if alpha < _SMALLEST_P - 1e-9:  # a quantile beyond all draws
            return np.full_like(self.centre, -np.inf), np.full_like(self.centre, np.inf)
        reach = self.noise * math.sqrt(2 * math.log(4 / alpha))
        low = np.quantile(self.extremes.least, alpha / 4, axis=0)
        high = np.quantile(self.extremes.largest, 1 - alpha / 4, axis=0)
        return self.centre + low - reach, self.centre + high + reach

    def p_value(self) -> float:
        """Return the smallest alpha at which the last mean's interval leaves out zero."""
        low, high = _SMALLEST_P, 1.0
        if self._holds_zero(high):
            return high
        for _ in range(_BISECTIONS):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self._holds_zero(middle) else (low, middle)
        return high

    def _holds_zero(self, alpha: float) -> bool:
        low, high = self.at(alpha)
        return bool(low[-1] <= 0 <= high[-1])


def ends_of_means(estimator: Estimator[Panel], data: Panel, fit: Fit, windows: FloatArray, *, rng: Generator) -> Ends:
    """Simulate the intervals of the effect's mean over windows of adjacent periods, zeros and ones, (n_means, n_post)."""
    problem = _problem(estimator, data, fit)
    before, after = fit.path.effect[: data.n_pre], fit.path.effect[data.n_pre :]
    freedom = max(data.n_pre - int((problem.weights > 0).sum()) + 1, 1)
    shocks = rng.standard_normal((_DRAWN, data.n_pre)) * before * math.sqrt(data.n_pre / freedom)
    lower, bound = _lower_bounds(problem, before)
    length = windows.sum(axis=1)
    means = windows / length[:, None]
    noise = math.sqrt(float(((before - before.mean()) ** 2).sum()) / freedom)
    remembered = persistence(before)
    return Ends(
        extremes=extreme_changes(
            problem.before, problem.weights, lower, shocks, means @ problem.after, intercept=problem.intercept
        ),
        centre=means @ after - before.mean(),
        noise=noise * mean_noise(remembered, data.n_post)[length.astype(int) - 1],
        weight_bound=bound,
        persistence=remembered,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Problem:
    """Donors before (n_pre, n_donors) and after (n_post, n_donors) the launch as the weights saw them."""

    before: FloatArray
    after: FloatArray
    weights: FloatArray
    intercept: bool


def _problem(estimator: Estimator[Panel], data: Panel, fit: Fit) -> _Problem:
    """Find the least-squares problem that the weights solve: with a constant where the fit has one, without else."""
    if fit.weights is None:
        raise RefusalError(f"{type(estimator).__name__} has no donor weights")
    series = data.outcome - np.median(data.outcome, axis=0)
    treated, weights = series[data.ever_treated].mean(axis=0), fit.weights[~data.ever_treated]
    donors = series[~data.ever_treated].T
    shift = float((fit.path.effect - treated + donors @ weights).mean())
    intercept = abs(shift) > _NO_INTERCEPT * float(np.abs(series).max())
    if intercept:
        donors = donors - donors[: data.n_pre].mean(axis=0)
        treated = treated - treated[: data.n_pre].mean()
    before = donors[: data.n_pre]
    gap = treated[: data.n_pre] - before @ weights
    gradient = -before.T @ gap
    scale = max(float(gap @ gap), 1e-5 * float(np.median((before**2).sum(axis=0))))
    on_simplex = weights.min() >= 0 and abs(weights.sum() - 1) < 1e-6
    if not on_simplex or float(weights @ gradient - gradient.min()) > 10 * GAP_LIMIT * scale:
        raise RefusalError(
            "prediction intervals are about donor weights that are fitted to the outcomes before the launch alone, "
            "positive and adding up to one; these aren't",
            remedy="use synthetic-control without predictors and penalties, with treated_units = mean and compat = none, or "
            "another inference",
        )
    return _Problem(before=before, after=donors[data.n_pre :], weights=weights, intercept=intercept)


def _lower_bounds(problem: _Problem, gap: FloatArray) -> tuple[FloatArray, float]:
    """Return the smallest weight of each donor, and the bound below which a weight may only grow."""
    n_pre, n_donors = problem.before.shape
    used = int((problem.weights > 0).sum()) + problem.intercept
    least = float(problem.before.std(axis=0, ddof=1).min())
    bound = _LARGEST_BOUND
    if least > 0:
        rate = math.sqrt(math.log(n_donors + problem.intercept) * used * math.log(n_pre) / n_pre)
        bound = min(float(gap.std()) / least * rate, _LARGEST_BOUND)
    bound = min(bound, float(problem.weights.max()) / 2)
    return np.where(problem.weights > bound, 0.0, problem.weights), bound


def mean_noise(rho: float, n_periods: int) -> FloatArray:
    """Return the standard deviation of means over 1, 2, ... periods of an AR(1) process, relative to one period's."""
    rho = min(max(rho, 0.0), _MOST_PERSISTENT)
    powers = np.cumsum(rho ** np.arange(n_periods))  # 1 + rho + ... + rho^(h-1)
    variance = 2 * powers.cumsum() - np.arange(1, n_periods + 1)
    deviations: FloatArray = np.sqrt(variance) / np.arange(1, n_periods + 1)
    return deviations


def _bands(low: FloatArray, high: FloatArray, *, n_pre: int, level: float) -> PathBands:
    """Put ends by period and of running means, one after the other, into the shape of the path."""
    n_post = len(low) // 2
    before, length = np.full(n_pre, np.nan), np.arange(1, n_post + 1)
    return PathBands(
        level=level,
        kind="confidence",
        lower=np.concatenate([before, low[:n_post]]),
        upper=np.concatenate([before, high[:n_post]]),
        cumulative_lower=np.concatenate([before, low[n_post:] * length]),
        cumulative_upper=np.concatenate([before, high[n_post:] * length]),
    )
