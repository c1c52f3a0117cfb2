r"""Rosenbaum bounds for matched pairs: how far may the odds of treatment differ within a pair?

Under a hidden bias of at most :math:`\Gamma`, the treated unit of a pair is either one with probability between
:math:`1 / (1 + \Gamma)` and :math:`\Gamma / (1 + \Gamma)`. The signed-rank statistic is then largest in distribution when
every pair has :math:`p = \Gamma / (1 + \Gamma)`, with mean :math:`p \sum q_i` and variance :math:`p (1 - p) \sum q_i^2` over
the ranks :math:`q_i` of absolute differences (Rosenbaum 2002, Observational Studies, section 4.3).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def signed_ranks(differences: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the ranks of the absolute differences, ties averaged, and the signs; shapes (n_pairs,).

    Pairs without a difference take part in the ranking and count for nothing, as in Rosenbaum 2002, table 4.3.
    """
    ranks: FloatArray = np.where(differences == 0, 0.0, stats.rankdata(np.abs(differences)))
    return ranks, np.sign(differences)


def signed_rank_p_value(differences: FloatArray, *, gamma: float = 1.0) -> float:
    r"""Return the largest one-sided p-value against an increase that a hidden bias of gamma allows.

    Normal approximation, without a continuity correction; for ten pairs or more.

    Parameters
    ----------
    differences
        Treated less control outcome of each pair, shape (n_pairs,).
    gamma
        At least 1; 1: no hidden bias.

    Examples
    --------
    >>> round(signed_rank_p_value(np.arange(1.0, 11.0)), 4)
    0.0025
    """
    if not gamma >= 1:
        raise ValueError(f"gamma is {gamma}, it must be at least 1")
    ranks, signs = signed_ranks(differences)
    if not ranks.any():
        return 1.0
    p = gamma / (1 + gamma)
    deviate = (ranks[signs > 0].sum() - p * ranks.sum()) / math.sqrt(p * (1 - p) * (ranks**2).sum())
    return float(special.ndtr(-deviate))


def largest_gamma(differences: FloatArray, *, level: float) -> float:
    r"""Return the largest hidden bias at which an increase is still shown, one-sided; 0 where it isn't shown at all.

    The p-value rises with :math:`p = \Gamma / (1 + \Gamma)`, and reaches :math:`\alpha` where
    :math:`(T - p S_1)^2 = z^2 p (1 - p) S_2`, a quadratic in :math:`p`; infinite where no bias does.
    """
    ranks, signs = signed_ranks(differences)
    if not ranks.any() or signed_rank_p_value(differences) > 1 - level:
        return 0.0
    total, square, found = ranks.sum(), (ranks**2).sum(), ranks[signs > 0].sum()
    z = float(special.ndtri(level))
    # (S1^2 + z^2 S2) p^2 - (2 T S1 + z^2 S2) p + T^2 = 0; the smaller root has T > p S1.
    a, b, c = total**2 + z**2 * square, 2 * found * total + z**2 * square, found**2
    root = (b - math.sqrt(max(b**2 - 4 * a * c, 0.0))) / (2 * a)
    return float(root / (1 - root)) if root < 1 else math.inf


def nearest_pairs(treated: FloatArray, control: FloatArray, *, caliper: float) -> IntArray:
    """Pair treated with control units by the nearest score, each used once, the largest treated score first.

    Parameters
    ----------
    treated, control
        Scores such as the log odds of treatment, shapes (n_treated,), (n_control,).
    caliper
        Pairs further apart than this aren't formed.

    Returns
    -------
    IntArray
        Rows of treated and control indices, shape (n_pairs, 2), in the order formed.

    Examples
    --------
    >>> nearest_pairs(np.array([0.0, 1.0]), np.array([0.9, 0.1, 5.0]), caliper=0.5).tolist()
    [[1, 0], [0, 1]]
    """
    order = np.argsort(control, kind="stable")
    scores = control[order]
    # Free neighbours to either side, found through chains of those taken.
    left, right = np.arange(len(scores)), np.arange(len(scores))
    pairs = []
    for i in np.argsort(-treated, kind="stable").tolist():
        place = int(np.searchsorted(scores, treated[i]))
        below, above = _free(left, place - 1), _free(right, place)
        reach = [(abs(scores[j] - treated[i]), j) for j in (below, above) if 0 <= j < len(scores)]
        if not reach:
            break
        distance, j = min(reach)
        if distance > caliper:
            continue
        pairs.append((i, int(order[j])))
        left[j], right[j] = j - 1, j + 1
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _free(links: IntArray, start: int) -> int:
    """Follow the links to the next free place, and shorten the chain behind."""
    place, passed = start, []
    while 0 <= place < len(links) and links[place] != place:
        passed.append(place)
        place = int(links[place])
    links[passed] = place
    return place
