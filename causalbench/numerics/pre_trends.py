r"""What the leads of an event study can and can't show about trends that differed before the launch.

Leads are placebo effects before the launch, relative to the reference period:
:math:`\hat\beta \sim N(\delta, \Sigma)` with :math:`\delta = 0` when trends were parallel. A test that doesn't reject
is no evidence for :math:`\delta = 0`; its power says against which trends it is (Roth 2022, American Economic Review:
Insights 4, 305-322).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from causalbench.numerics.normal_rectangle import rectangle_probability

FloatArray = NDArray[np.float64]

POINTWISE = float(ndtri(0.975))
"""A lead beyond this many standard errors is significant by itself at 5%."""

_LATTICE = 400_000
"""Coordinates of lattice points per probability: from 50 leads on there are fewer points, and an error of about 1e-3."""

_SINGULAR = 1e-9
"""Smallest eigenvalue of the leads' correlation below which they can't be tested together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointTest:
    r"""Wald test that all leads are zero.

    Attributes
    ----------
    statistic
        :math:`W = \hat\beta'\hat\Sigma^{-1}\hat\beta`.
    n_leads
        Number of leads tested.
    degrees
        Degrees of freedom behind the covariance; infinite when it is taken as known.
    p_value
        Of parallel trends before the launch.
    """

    statistic: float
    n_leads: int
    degrees: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendEvidence:
    """What a pre-test says about one hypothesised trend.

    Attributes
    ----------
    power
        Probability that at least one lead is significant by itself if that trend is real.
    bayes_factor
        Probability of no significant lead under the trend, over that under parallel trends: how little passing counts
        against the trend.
    likelihood_ratio
        Density of the leads as observed under the trend, over that under parallel trends.
    """

    power: float
    bayes_factor: float
    likelihood_ratio: float


def effective_number(weights: FloatArray) -> float:
    r"""Return how many equally weighted units give a mean as noisy as these weights do; zero where there are none.

    :math:`(\sum w)^2 / \sum w^2`, the size of a sample over Kish's design effect (1965, Survey Sampling). It takes the
    variance of a unit as inverse to its weight, or as unrelated to it; a variance that grows with weight needs fewer.

    Parameters
    ----------
    weights
        Weights of independent units, or total weights of clusters; not negative.

    Examples
    --------
    >>> import numpy as np
    >>> effective_number(np.ones(4)), effective_number(np.array([9.0, 1.0, 1.0, 1.0]))
    (4.0, 1.7142857142857142)
    """
    total = float((weights**2).sum())
    return float(weights.sum()) ** 2 / total if total > 0 else 0.0


def welch_degrees(n_treated: float, n_control: float) -> float:
    """Return the degrees of freedom behind the variance of a difference of two means.

    Welch (1947, Biometrika 34, 28-35, equation 28) at equal variances of the units; zero when a side has one unit or
    none. With few treated units they are about the number of treated units less one.

    Examples
    --------
    >>> round(welch_degrees(5, 45), 2), welch_degrees(1, 45)
    (4.93, 0.0)
    """
    if min(n_treated, n_control) <= 1:
        return 0.0
    own, other = 1 / n_treated, 1 / n_control
    return (own + other) ** 2 / (own**2 / (n_treated - 1) + other**2 / (n_control - 1))


def joint_test(values: FloatArray, covariance: FloatArray, *, degrees: float = math.inf) -> JointTest | None:
    r"""Test that all leads are zero; None when the covariance can't carry a joint test.

    With known covariance :math:`W \sim \chi^2_k`. Estimated on :math:`\nu` degrees of freedom, Hotelling's reference
    :math:`W(\nu - k + 1)/(k\nu) \sim F_{k,\nu-k+1}` (1931, Annals of Mathematical Statistics 2, 360-378) is used, as
    the chi-squared one rejects far too often with few units. There is none when :math:`\nu - k + 1` falls below one,
    or when the leads are linearly dependent.

    Parameters
    ----------
    values, covariance
        Leads, shape (k,), and their covariance, shape (k, k).
    degrees
        Degrees of freedom behind the covariance.

    Examples
    --------
    >>> import numpy as np
    >>> round(joint_test(np.array([1.0, -2.0]), np.eye(2)).p_value, 4)
    0.0821
    """
    k, left = len(values), degrees - len(values) + 1
    spread = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(spread, spread)
    if left < 1 or np.linalg.eigvalsh(correlation)[0] < _SINGULAR:
        return None
    scaled = values / spread
    statistic = float(scaled @ np.linalg.solve(correlation, scaled))
    share = 1.0 if math.isinf(degrees) else left / degrees
    return JointTest(
        statistic=statistic,
        n_leads=k,
        degrees=degrees,
        p_value=float(f_distribution.sf(statistic * share / k, k, min(left, 1e9))),
    )


def largest_lead_p_value(values: FloatArray, std_errors: FloatArray, *, degrees: float = math.inf) -> float:
    """Return the p-value of the largest absolute t statistic, times the number of leads (Bonferroni)."""
    largest = float(np.abs(values / std_errors).max())
    return min(1.0, 2 * len(values) * float(t_distribution.sf(largest, degrees)))


def pre_test_power(covariance: FloatArray, trend: FloatArray, *, critical_value: float = POINTWISE) -> float:
    r"""Return the probability that at least one lead is significant by itself if a trend is real.

    One less the probability of the rectangle :math:`|\hat\beta_s| \le c\,\sigma_s` for all s under
    :math:`\hat\beta \sim N(\delta, \Sigma)`: the pre-test of Roth (2022, section I). With ``trend`` zero it is the
    rule's rate of false alarms, which grows with the number of leads.

    Parameters
    ----------
    covariance
        Of the leads, shape (k, k).
    trend
        What the trend would make of each lead, shape (k,).
    critical_value
        Standard errors beyond which a lead counts as significant.

    Examples
    --------
    >>> import numpy as np
    >>> round(pre_test_power(np.eye(2), np.zeros(2)), 4)
    0.0975
    """
    reach = critical_value * np.sqrt(np.diag(covariance))
    n_points = int(np.clip(_LATTICE // len(reach), 1024, 8192))
    return 1 - rectangle_probability(covariance, -reach - trend, reach - trend, n_points=n_points)


def trend_evidence(
    values: FloatArray, covariance: FloatArray, trend: FloatArray, *, critical_value: float = POINTWISE
) -> TrendEvidence | None:
    """Hold one hypothesised trend against parallel trends; None when the leads are linearly dependent.

    Parameters
    ----------
    values, covariance, trend
        Leads as observed, their covariance, and what the trend would make of them.
    critical_value
        Standard errors beyond which a lead counts as significant.
    """
    spread = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(spread, spread)
    if np.linalg.eigvalsh(correlation)[0] < _SINGULAR:
        return None
    power = pre_test_power(covariance, trend, critical_value=critical_value)
    false_alarm = pre_test_power(covariance, np.zeros(len(trend)), critical_value=critical_value)
    seen, drift = values / spread, trend / spread
    log_ratio = float((seen - drift / 2) @ np.linalg.solve(correlation, drift))
    return TrendEvidence(
        power=power, bayes_factor=(1 - power) / (1 - false_alarm), likelihood_ratio=math.exp(min(log_ratio, 700.0))
    )


def detectable_slope(
    covariance: FloatArray, distances: FloatArray, *, power: float, critical_value: float = POINTWISE
) -> float | None:
    """Return the smallest linear trend that the pre-test catches with a given power, per period.

    None when chance alone raises an alarm as often as that: many leads, each tested at 5%.

    Parameters
    ----------
    covariance
        Of the leads, shape (k, k).
    distances
        Event time of each lead less that of the reference, shape (k,).
    power
        Wanted probability of at least one significant lead.
    critical_value
        Standard errors beyond which a lead counts as significant.

    Examples
    --------
    >>> import numpy as np
    >>> round(detectable_slope(np.eye(1), np.array([-1.0]), power=0.8), 4)
    2.8016
    """
    if pre_test_power(covariance, 0.0 * distances, critical_value=critical_value) >= power:
        return None
    unit = float(np.min(np.sqrt(np.diag(covariance)) / np.abs(distances)))

    def excess(slope: float) -> float:
        return pre_test_power(covariance, slope * unit * distances, critical_value=critical_value) - power

    # From critical value plus five standard errors on, the clearest lead alone is significant almost surely.
    return float(brentq(excess, 0.0, critical_value + 5.0, xtol=1e-6, rtol=1e-6)) * unit


def equivalence_bound(
    values: FloatArray, std_errors: FloatArray, *, level: float = 0.95, degrees: float = math.inf
) -> float:
    r"""Return the smallest bound below which all leads are shown to lie, in absolute value.

    The hypothesis is :math:`\max_s |\beta_s| \ge \tau` (Dette, Schumann 2024, Journal of Business & Economic
    Statistics 42, 1289-1301, equation 3.1): the burden of proof lies with parallel trends. By two one-sided tests of
    each lead (Hartman, Hidalgo 2018, American Journal of Political Science 62, 1000-1013) it is rejected for every
    :math:`\tau` above :math:`\max_s\,|\hat\beta_s| + t_{\nu,1-\alpha}\,\hat\sigma_s`, the intersection of rejections
    needing no correction. Dette and Schumann take the quantile of a folded normal, which differs only where a lead
    lies within about one standard error of zero, is smaller there, and shows equivalence to zero itself for a lead
    that happens to be zero.

    Parameters
    ----------
    values, std_errors
        Of the leads, shape (k,).
    level
        One less the probability of showing an equivalence that isn't there.
    degrees
        Degrees of freedom behind the standard errors.

    Examples
    --------
    >>> import numpy as np
    >>> round(equivalence_bound(np.array([0.5, -1.0]), np.array([1.0, 0.5])), 4)
    2.1449
    """
    return float((np.abs(values) + t_distribution.ppf(level, degrees) * std_errors).max())
