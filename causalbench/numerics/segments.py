r"""Effects in several groups at once: false discoveries, and effects of opposite signs.

References: Benjamini, Hochberg 1995 (https://doi.org/10.1111/j.2517-6161.1995.tb02031.x); Gail, Simon 1985
(https://doi.org/10.2307/2530862).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

FloatArray = NDArray[np.float64]


def adjusted_p_values(p_values: FloatArray) -> FloatArray:
    r"""Return p-values for control of the false discovery rate, :math:`\min_{j \ge i} m p_{(j)} / j`; shape (m,).

    Examples
    --------
    >>> adjusted_p_values(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    m = len(p_values)
    order = np.argsort(-p_values, kind="stable")
    steps = np.minimum.accumulate(p_values[order] * m / np.arange(m, 0, -1))
    result = np.empty(m)
    result[order] = np.minimum(steps, 1.0)
    return result


def opposite_effects(effects: FloatArray, std_errors: FloatArray) -> tuple[float, float]:
    r"""Test that no two groups have effects of opposite signs; return the statistic and its p-value.

    With independent effects :math:`d_k` and errors :math:`s_k` of K groups,
    :math:`Q^\pm = \sum_k (d_k / s_k)^2 1\{\pm d_k > 0\}`. The likelihood ratio statistic is :math:`\min(Q^+, Q^-)`: the squared
    distance to the nearer of the two orthants. It is largest in distribution where one effect is infinite and all others
    are zero; each of those falls on the other side with probability one half, so

    .. math:: p = \sum_{h=1}^{K-1} \binom{K-1}{h} 2^{-(K-1)} P(\chi^2_h > \min(Q^+, Q^-)).

    Parameters
    ----------
    effects, std_errors
        Shape (K,), K at least 2, of groups that share no unit.

    Examples
    --------
    >>> statistic, p_value = opposite_effects(np.array([3.0, -3.0]), np.array([1.0, 1.0]))
    >>> statistic, round(p_value, 5)
    (9.0, 0.00135)
    """
    squares = (effects / std_errors) ** 2
    statistic = float(min(squares[effects > 0].sum(), squares[effects < 0].sum()))
    if statistic == 0:
        return 0.0, 1.0
    h = np.arange(1, len(effects))
    shares = special.binom(len(effects) - 1, h) * 0.5 ** (len(effects) - 1)
    return statistic, float(shares @ special.chdtrc(h, statistic))


def opposite_signs(effects: FloatArray, p_values: FloatArray) -> float:
    r"""Test that no two groups have effects of opposite signs, however the groups depend on each other; return the p-value.

    With one-sided p-values :math:`p_k^\pm` of K groups, half the two-sided one on the side of the effect,

    .. math:: p = \max\bigl(K \min_k p_k^+,\; K \min_k p_k^-\bigr).

    Where no effect is negative, :math:`P(K \min_k p_k^- \le \alpha) \le \alpha` by Bonferroni's inequality, and likewise for the
    other sign.

    Parameters
    ----------
    effects, p_values
        Effects and their two-sided p-values, shape (K,), K at least 2.

    Examples
    --------
    >>> round(opposite_signs(np.array([3.0, -3.0, 0.1]), np.array([0.001, 0.01, 0.9])), 4)
    0.015
    """
    one_sided = p_values / 2
    positive, negative = (
        np.where(effects > 0, one_sided, 1 - one_sided),
        np.where(effects < 0, one_sided, 1 - one_sided),
    )
    return float(min(1.0, len(effects) * max(positive.min(), negative.min())))
