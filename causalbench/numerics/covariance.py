r"""Cluster-robust covariance of two-way fixed effects with one launch date, from per-unit contributions.

With one launch date and no missing cell every coefficient of the regression on unit effects, period effects and
treatment (once, or by event time) is a difference of weighted means: of one number per unit, its change from one window
to another, between treated and control units. Unit effects are nested in the clusters and every cluster holds whole
units, so the sandwich of the long regression is that of this short one (Pustejovsky, Tipton 2018, theorem 2, for the
leverage adjustments), and the adjustment matrices act on a cluster's treated and control units by one factor each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

CovarianceKind = Literal["CRV1", "CRV2", "CRV3"]
Convention = Literal["fixest", "stata", "did", "linearmodels"]

_WHOLE = 1 - 1e-12
_POWER = {"CRV1": 0.0, "CRV2": -0.5, "CRV3": -1.0}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arms:
    """Treated and control units with their weights and clusters.

    Attributes
    ----------
    treated
        Which units are treated, shape (n_units,).
    share
        Weight of each unit relative to its arm's total, shape (n_units,).
    cluster_share
        Weight of all units of the unit's arm in the unit's cluster, relative to the arm's total, shape (n_units,).
    total
        Total weight of the unit's arm, shape (n_units,).
    codes
        Cluster of each unit, 0 to ``n_clusters - 1``, shape (n_units,).
    n_clusters
        Number of clusters.
    """

    treated: BoolArray
    share: FloatArray
    cluster_share: FloatArray
    total: FloatArray
    codes: IntArray
    n_clusters: int

    def means(self, outcome: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the weighted mean of the treated and of the control units, each of shape (n_columns,)."""
        return (self.share * self.treated) @ outcome, (self.share * ~self.treated) @ outcome

    def influence(self, change: FloatArray) -> FloatArray:
        r"""Return what each unit contributes to the error of the difference of means, shape (n_units, n_columns).

        :math:`\psi_i = \pm \frac{w_i}{\sum_{j \in a(i)} w_j} (z_i - \bar z_{a(i)})`, positive for the treated.
        """
        treated, control = self.means(change)
        signed = np.where(self.treated, self.share, -self.share)
        errors: FloatArray = change - np.where(self.treated[:, None], treated, control)
        errors *= signed[:, None]
        return errors

    def covariance(self, influence: FloatArray, kind: CovarianceKind) -> FloatArray:
        r"""Return :math:`\sum_g (\sum_{i \in g} m_i \psi_i)(\sum_{i \in g} m_i \psi_i)'`, shape (n_columns, n_columns).

        The multiplier is :math:`m_i = (1 - h_i)^{-p}`, with :math:`h_i` the share of the arm's weight in the unit's
        cluster, the eigenvalue of the cluster's hat matrix. ``CRV1``: p = 0, without any small-sample factor. ``CRV2``:
        p = 1/2 (Bell, McCaffrey 2002; under a working model of independent errors with variance inverse to
        the weight). ``CRV3``: p = 1 times (G - 1) / G, the jackknife over clusters about the estimate (their CV3,
        MacKinnon, Nielsen, Webb 2023). Where a cluster is the whole arm its errors add up to zero and the
        multiplier is 0, by the generalized inverse (Pustejovsky, Tipton 2018, theorem 1).
        """
        scores = self.cluster_sums(self._multiplier(kind)[:, None] * influence if kind != "CRV1" else influence)
        factor = (self.n_clusters - 1) / self.n_clusters if kind == "CRV3" else 1.0
        covariance: FloatArray = factor * (scores.T @ scores)
        return covariance

    def cluster_sums(self, rows: FloatArray) -> FloatArray:
        """Add up rows within clusters, shape (n_clusters, n_columns)."""
        if self.n_clusters == len(self.codes):
            return rows[np.argsort(self.codes)] if (np.diff(self.codes) < 0).any() else rows
        return np.stack([np.bincount(self.codes, column, minlength=self.n_clusters) for column in rows.T], axis=1)

    def satterthwaite(self) -> float:
        r"""Return the degrees of freedom :math:`(\mathrm{tr}\,\Omega)^2 / \mathrm{tr}\,\Omega^2` of CRV2.

        :math:`\Omega_{gh} = p_g' (I - H) p_h` with :math:`p_g` the weights of the errors in cluster g's score, under
        independent errors with variance inverse to the weight (Bell, McCaffrey 2002; Pustejovsky, Tipton 2018,
        section 3). They are the same for every event time.
        """
        multiplier, tops, bottoms = self._multiplier("CRV2"), np.zeros(self.n_clusters), []
        for arm in (self.treated, ~self.treated):
            used, total = self.share[arm], self.total[arm][0]
            tops += np.bincount(self.codes[arm], multiplier[arm] ** 2 * used, self.n_clusters) / total
            bottoms.append(np.bincount(self.codes[arm], multiplier[arm] * used, self.n_clusters) / math.sqrt(total))
        first, second = bottoms
        trace = float((tops - first**2 - second**2).sum())
        square = (tops**2).sum() - 2 * (tops * (first**2 + second**2)).sum()
        square += (first @ first) ** 2 + (second @ second) ** 2 + 2 * (first @ second) ** 2
        return trace**2 / float(square) if trace > 0 else math.nan

    def _multiplier(self, kind: CovarianceKind) -> FloatArray:
        whole = self.cluster_share > _WHOLE
        rest = np.where(whole, 1.0, 1 - self.cluster_share)
        multiplier: FloatArray = np.where(whole, 0.0, rest ** _POWER[kind])
        return multiplier


def arms(treated: BoolArray, *, weights: FloatArray | None, codes: IntArray, n_clusters: int) -> Arms:
    """Measure the shares of units and clusters in their arms.

    Parameters
    ----------
    treated
        Which units are treated, shape (n_units,); some must be, and some not.
    weights
        Positive weight of each unit, shape (n_units,); None: all equal.
    codes
        Cluster of each unit, shape (n_units,), 0 to ``n_clusters - 1``.
    n_clusters
        Number of clusters.

    Examples
    --------
    >>> import numpy as np
    >>> sides = arms(np.array([True, True, False, False]), weights=None, codes=np.arange(4), n_clusters=4)
    >>> psi = sides.influence(np.array([[3.0], [5.0], [1.0], [1.0]]))
    >>> sides.covariance(psi, "CRV1").tolist(), sides.covariance(psi, "CRV2").round(12).tolist(), round(sides.satterthwaite(), 9)
    ([[0.5]], [[1.0]], 2.0)
    """
    weights = np.ones(len(treated)) if weights is None else weights
    cell = 2 * codes + treated
    sums = np.bincount(cell, weights, minlength=2 * n_clusters)
    total = np.where(treated, weights[treated].sum(), weights[~treated].sum())
    return Arms(
        treated=treated,
        share=weights / total,
        cluster_share=sums[cell] / total,
        total=total,
        codes=codes,
        n_clusters=n_clusters,
    )


def small_sample(
    convention: Convention, *, n_units: int, n_periods: int, n_regressors: int, n_clusters: int
) -> tuple[float, float]:
    r"""Return the factor on CRV1 without corrections, and the degrees of freedom of its t quantiles.

    With N units, T periods, G clusters and R treatment terms (1, or one per event time):

    ``fixest``, ``stata``
        :math:`\frac{G}{G-1} \cdot \frac{NT-1}{NT-R-T}` and G - 1. Counted are R, the T - 1 period effects and the
        constant; unit effects are nested in the clusters and aren't. It is what ``feols`` with ``K.fixef = "nested"``,
        ``xtreg, fe vce(cluster)`` with period dummies and ``reghdfe`` compute (Cameron, Miller 2015, section III.B).
    ``did``
        1 and infinity: the standard error of the influence function with normal quantiles (Callaway, Sant'Anna 2021,
        theorem 2).
    ``linearmodels``
        :math:`\frac{NT}{NT-R-N-T+1}` and its denominator: ``PanelOLS`` with both effects at its clustered defaults counts
        every effect and makes no correction for the number of clusters.

    Examples
    --------
    >>> small_sample("fixest", n_units=4, n_periods=3, n_regressors=1, n_clusters=4)[1]
    3.0
    """
    n_cells = n_units * n_periods
    if convention == "did":
        return 1.0, math.inf
    if convention == "linearmodels":
        left = n_cells - n_regressors - n_units - n_periods + 1
        return (n_cells / left if left > 0 else math.nan), float(left)
    left = n_cells - n_regressors - n_periods
    factor = n_clusters / (n_clusters - 1) * (n_cells - 1) / left if left > 0 and n_clusters > 1 else math.nan
    return factor, float(n_clusters - 1)


def t_quantile(level: float, df: float) -> float:
    """Return the two-sided critical value of a t statistic; normal where ``df`` is infinite."""
    tail = 0.5 + level / 2
    return float(stats.norm.ppf(tail) if math.isinf(df) else stats.t.ppf(tail, df))


def t_p_value(statistic: float, df: float) -> float:
    """Return the two-sided p-value of a t statistic; normal where ``df`` is infinite."""
    statistic = abs(statistic)
    return float(2 * (stats.norm.sf(statistic) if math.isinf(df) else stats.t.sf(statistic, df)))


def t_tail(statistic: float, df: float) -> float:
    """Return the probability that a t statistic is larger; normal where ``df`` is infinite."""
    return float(stats.norm.sf(statistic) if math.isinf(df) else stats.t.sf(statistic, df))


def uniform_quantile(covariance: FloatArray, level: float, *, df: float, n_draws: int, rng: Generator) -> float:
    r"""Return the quantile of the largest absolute t statistic of several estimates, drawn from their correlation.

    Draws of :math:`\max_k |z_k| / \sqrt{\chi^2_{df} / df}` with :math:`z` normal (Montiel Olea, Plagborg-Moller 2019,
    algorithm 1). The root of the correlation is the symmetric one, which doesn't depend on the signs of eigenvectors, so
    that equal data give equal quantiles. It is never below the quantile for one estimate.

    Parameters
    ----------
    covariance
        Shape (K, K); estimates without variance are left out.
    level
        Confidence level.
    df
        Degrees of freedom, infinite for normal statistics.
    n_draws
        Number of draws.
    rng
        Source of the draws.

    Examples
    --------
    >>> import numpy as np
    >>> both = uniform_quantile(np.eye(2), 0.9, df=np.inf, n_draws=20_000, rng=np.random.default_rng(0))
    >>> 1.9 < both < 2.0
    True
    """
    alone, spread = t_quantile(level, df), np.sqrt(np.maximum(np.diag(covariance), 0.0))
    kept = spread > 0
    if not kept.any():
        return alone
    correlation = covariance[np.ix_(kept, kept)] / np.outer(spread[kept], spread[kept])
    values, vectors = np.linalg.eigh(correlation)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    largest = np.abs(rng.standard_normal((n_draws, len(root))) @ root).max(axis=1)
    if not math.isinf(df):
        largest /= np.sqrt(rng.chisquare(df, n_draws) / df)
    return max(alone, float(np.quantile(largest, level)))
