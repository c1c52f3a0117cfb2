r"""An effect that fades to what stays: :math:`\theta(t) = s + a\,2^{-t/h}`, fitted to effects with a known covariance.

For a half-life h given, s and a are linear: generalised least squares on :math:`X_h = (1, 2^{-t/h})`. What is asked is profiled
over h on a grid of half-lives from one period to three times the time observed, beyond which the curve is a line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.stats import t as t_distribution

FloatArray = NDArray[np.float64]

_POINTS = 120
_PERSISTENCE = tuple(float(rho) for rho in np.round(np.linspace(0, 0.95, 20), 2))
_SHORTEST, _LONGEST = 1.0, 3.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecayFits:
    """Fits for every half-life of the grid.

    Attributes
    ----------
    lives
        Half-lives, shape (n_lives,).
    coefficients
        What stays and what fades, s and a; shape (n_lives, 2).
    covariances
        Of both, shape (n_lives, 2, 2).
    losses
        Generalised sum of squares, shape (n_lives,).
    flat_loss
        Of a constant effect.
    degrees
        Degrees of freedom behind the covariance; infinite where it is known.
    season
        Periods of a season whose parts were fitted; 1: none.
    """

    lives: FloatArray
    coefficients: FloatArray
    covariances: FloatArray
    losses: FloatArray
    flat_loss: float
    degrees: float = math.inf
    season: int = 1

    @property
    def best(self) -> int:
        """Index of the half-life that fits best."""
        return int(np.argmin(self.losses))

    def within(self, level: float) -> NDArray[np.bool_]:
        """Return which half-lives aren't rejected: the loss grows by less than the squared quantile of t."""
        inside: NDArray[np.bool_] = self.losses - self.losses.min() <= self.limit(level)
        return inside

    def limit(self, level: float) -> float:
        """Return by how much the loss may grow: a quantile of chi-squared with one degree, or of the square of t."""
        return float(t_distribution.ppf((1 + level) / 2, self.degrees)) ** 2

    def profile(self, weights: FloatArray, *, level: float) -> tuple[float, float, float]:
        r"""Return best value and set of a number :math:`c_h' (s, a)`, whatever the half-life.

        The set joins, over half-lives, the values with
        :math:`\ell_h + (c_h'\beta - v)^2 / (c_h' V_h c_h) \le \min \ell + \chi^2_{1, level}`.

        Parameters
        ----------
        weights
            Shape (n_lives, 2).
        level
            Of the set.
        """
        values = np.einsum("hk,hk->h", weights, self.coefficients)
        errors = np.sqrt(np.maximum(np.einsum("hk,hkl,hl->h", weights, self.covariances, weights), 0.0))
        room = self.limit(level) - (self.losses - self.losses.min())
        inside = room >= 0
        reach = errors[inside] * np.sqrt(room[inside])
        low, high = float((values[inside] - reach).min()), float((values[inside] + reach).max())
        return float(values[self.best]), low, high


def fit_decay(
    effects: FloatArray, covariance: FloatArray, times: FloatArray, *, degrees: float = math.inf, season: int = 1
) -> DecayFits:
    """Fit the curve for every half-life of the grid.

    Parameters
    ----------
    effects, times
        Effects by period and the periods since the launch, shape (k,), at least four.
    covariance
        Of the effects, shape (k, k), positive definite.
    degrees
        Degrees of freedom behind its size.
    season
        Periods that make a season, whose parts may have effects of their own that add up to nothing; 1: no season.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.arange(20.0)
    >>> fits = fit_decay(1 + 5 * 0.5 ** (times / 4), 0.01 * np.eye(20), times)
    >>> [round(float(v), 1) for v in (fits.lives[fits.best], *fits.coefficients[fits.best])]
    [4.0, 1.0, 5.0]
    """
    lives, designs = _designs(times)
    whitened, target = _whiten(designs, effects, covariance, times=times, season=season)
    cross = np.einsum("hkp,hkq->hpq", whitened, whitened)
    covariances = np.linalg.inv(cross)
    coefficients = np.einsum("hpq,hkq,k->hp", covariances, whitened, target)
    residuals = target - np.einsum("hkp,hp->hk", whitened, coefficients)
    ones = whitened[0, :, 0]
    flat = target - ones * float(ones @ target) / float(ones @ ones)
    return DecayFits(
        lives=lives,
        coefficients=coefficients,
        covariances=covariances,
        losses=(residuals**2).sum(axis=1),
        flat_loss=float(flat @ flat),
        degrees=degrees,
        season=season,
    )


def decay_p_value(fits: DecayFits, times: FloatArray, covariance: FloatArray, *, n_draws: int, rng: Generator) -> float:
    r"""Return the p-value of a constant effect against one that changes as the curve does.

    The statistic is the largest gain in fit over all half-lives. Under a constant effect the half-life means nothing, so the law
    isn't that of chi-squared (Davies 1987, Biometrika 74, 33-43); it is drawn from the covariance. Counting the data among the
    draws, a test at :math:`\alpha` has size :math:`\alpha` if the effects are normal with that covariance; a covariance known up
    to its size from few degrees of freedom is drawn with them.

    Parameters
    ----------
    fits, times, covariance
        From :func:`fit_decay` and its data.
    n_draws
        Draws of the null law.
    rng
        Draws them.
    """
    _, designs = _designs(times)
    whitened, _ = _whiten(designs, np.zeros(len(times)), covariance, times=times, season=fits.season)
    ones = whitened[0, :, 0] / np.linalg.norm(whitened[0, :, 0])
    parts = whitened[:, :, 1] - np.outer(whitened[:, :, 1] @ ones, ones)
    parts /= np.linalg.norm(parts, axis=1, keepdims=True)
    drawn = ((rng.standard_normal((n_draws, len(times))) @ parts.T) ** 2).max(axis=1)
    if math.isfinite(fits.degrees):
        drawn *= fits.degrees / rng.chisquare(fits.degrees, n_draws)
    seen = fits.flat_loss - float(fits.losses.min())
    return (1 + int((drawn >= seen - 1e-9).sum())) / (1 + n_draws)


def gap_covariance(gap: FloatArray, *, n_post: int, persistence: float, n_fitted: int = 1) -> FloatArray:
    r"""Return the covariance of effects by period that a gap before the launch suggests.

    With variance :math:`\sigma^2` and autocorrelation :math:`\rho` of the gap, an AR(1) law for the periods after, and the error
    of the level fitted to the T periods before, common to all of them:

    .. math:: \Sigma_{ij} = \sigma^2 \rho^{|i - j|} + \sigma^2 v(T), \quad
        v(T) = \frac{1}{T}\Bigl(\frac{1 + \rho}{1 - \rho} - \frac{2 \rho (1 - \rho^T)}{T (1 - \rho)^2}\Bigr).

    A gap that numbers were fitted to is smaller than the error to come: with k of them and
    :math:`T_e = T (1 - \rho) / (1 + \rho)` periods' worth of independent noise, :math:`\sigma^2` is the mean square times
    :math:`T_e / (T_e - k)`, at most doubled. As an autocorrelation that is estimated too small makes all of this too sure, one
    standard error, :math:`\sqrt{(1 - \rho^2) / T}`, is added to it.

    Parameters
    ----------
    gap
        Before the launch, shape (n_pre,), about zero.
    n_post
        Periods after it.
    persistence
        First autocorrelation; moved to 0 to .95.
    n_fitted
        How many numbers were fitted to the gap.
    """
    n_pre = len(gap)
    careful = persistence + math.sqrt(max(1 - persistence**2, 0.0) / n_pre)
    rho = min(max(careful, 0.0), 0.95)
    independent = n_pre * (1 - rho) / (1 + rho)
    variance = float(np.mean(gap**2)) * independent / max(independent - n_fitted, independent / 2)
    steps = np.abs(np.subtract.outer(np.arange(n_post), np.arange(n_post)))
    level = ((1 + rho) / (1 - rho) - 2 * rho * (1 - rho**n_pre) / (n_pre * (1 - rho) ** 2)) / n_pre
    covariance: FloatArray = variance * (rho**steps + level)
    return covariance


def smoothed_covariance(covariance: FloatArray, times: FloatArray) -> FloatArray:
    r"""Return a covariance by period with as few numbers as few units can tell.

    Of two families, on a grid, the nearest to the given covariance in squares is taken, with its mean variance:

    .. math:: \Sigma_{ij} \propto c + (1 - c) \rho^{|i - j|}
        \qquad\text{and}\qquad 1 + \rho^{|i - j|} - \rho^{t_i + 1} - \rho^{t_j + 1},

    AR(1) noise with a part that all periods share, and AR(1) noise less its value in the last period before the launch. An
    inverse of a covariance of k periods from few units is mostly noise and makes any curve look sure; averages over its entries
    don't.

    Parameters
    ----------
    covariance
        Shape (k, k), with positive diagonal.
    times
        Periods since the launch, shape (k,).

    Examples
    --------
    >>> import numpy as np
    >>> times = np.arange(20.0)
    >>> truth = 0.3 + 0.7 * 0.5 ** np.abs(np.subtract.outer(times, times))
    >>> bool(np.abs(smoothed_covariance(truth, times) - truth).max() < 1e-9)
    True
    """
    steps = np.abs(np.subtract.outer(times, times))
    families = [c + (1 - c) * rho**steps for c in np.linspace(0, 0.9, 10) for rho in _PERSISTENCE]
    for rho in _PERSISTENCE:
        since = rho ** (times + 1)
        families.append(1 + rho**steps - since[:, None] - since[None, :])
    variance = float(np.diag(covariance).mean())
    scaled = [family * (variance / float(np.diag(family).mean())) for family in families]
    smooth: FloatArray = min(scaled, key=lambda family: float(((family - covariance) ** 2).sum()))
    return smooth


def _designs(times: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the grid of half-lives, and a column of ones and the fading curve for each; shape (n_lives, k, 2)."""
    span = float(times[-1] - times[0])
    lives = np.geomspace(_SHORTEST, max(_LONGEST * span, 2 * _SHORTEST), _POINTS)
    curves = np.exp(-math.log(2) * times / lives[:, None])
    designs: FloatArray = np.stack([np.ones_like(curves), curves], axis=2)
    return lives, designs


def _whiten(
    designs: FloatArray, effects: FloatArray, covariance: FloatArray, *, times: FloatArray, season: int
) -> tuple[FloatArray, FloatArray]:
    """Return designs and effects in units of independent noise, less what the parts of a season explain."""
    root = np.linalg.cholesky(covariance)
    k = len(effects)
    flat = np.moveaxis(designs, 1, 0).reshape(k, -1)
    parts = np.eye(season)[(times.astype(int) % season)]
    solved = np.linalg.solve(root, np.column_stack([flat, effects, parts[:, :-1] - parts[:, -1:]]))
    wanted = flat.shape[1] + 1
    nuisance, solved = solved[:, wanted:], solved[:, :wanted]
    if season > 1:
        basis = np.linalg.qr(nuisance)[0]
        solved = solved - basis @ (basis.T @ solved)
    whitened = np.moveaxis(solved[:, :-1].reshape(k, len(designs), 2), 0, 1)
    return whitened, solved[:, -1]
