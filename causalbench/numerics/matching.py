r"""Nearest neighbours with replacement, ties included, and the variance that belongs to them.

Ties share: a unit whose M nearest others lie within a distance is matched to **all** at most that far. Breaking ties by the
order of rows would let the order decide, with discrete covariates for most units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from causalbench.numerics.two_period import regress

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_TIE = 1e-9
_SPARE = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatchedEffect:
    """An effect by matching.

    Attributes
    ----------
    value, variance
        The effect and its Abadie-Imbens variance.
    treated_mean
        Mean outcome with the treatment of those the effect is about.
    uses
        How often each unit serves as a match, shared matches in parts; shape (n_rows,).
    mean_distance
        Mean distance of matches.
    """

    value: float
    variance: float
    treated_mean: float
    uses: FloatArray
    mean_distance: float


def whitened(covariates: FloatArray) -> FloatArray:
    """Return coordinates whose Euclidean distance is the Mahalanobis distance of rows, shape (n_rows, k)."""
    centred = covariates - covariates.mean(axis=0)
    spread, axes = np.linalg.eigh(centred.T @ centred / max(len(centred) - 1, 1))
    kept = spread > 1e-12 * spread.max(initial=0.0)
    found: FloatArray = centred @ (axes[:, kept] / np.sqrt(spread[kept]))
    return found


def nearest(places: FloatArray, *, of: IntArray, among: IntArray, n_matches: int) -> tuple[sparse.csr_array, float]:
    """Match rows with replacement.

    Parameters
    ----------
    places
        Coordinates, shape (n_rows, k).
    of, among
        Numbers of the rows that seek, and of those that may be found.
    n_matches
        How many are sought; all that are as far as the last of them share.

    Returns
    -------
    tuple
        Shares, sparse of shape (len(of), len(among)), each row summing to 1; and the mean distance.
    """
    own, back = np.unique(places[among], axis=0, return_inverse=True)
    members = sparse.csr_array(
        (np.ones(len(among)), (back.ravel(), np.arange(len(among)))), shape=(len(own), len(among))
    )
    size = np.asarray(members.sum(axis=1)).ravel()
    seekers, who = np.unique(places[of], axis=0, return_inverse=True)
    rows, columns, total = [], [], np.zeros(len(seekers))
    for seeker, points, far in _neighbours(seekers, own, size, n_matches):
        rows.extend([seeker] * len(points))
        columns.extend(points)
        total[seeker] = float(far @ size[points]) / float(size[points].sum())
    linked = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(seekers), len(own)))
    shares = linked @ members
    shares = sparse.diags_array(1 / np.asarray(shares.sum(axis=1)).ravel()) @ shares
    return sparse.csr_array(shares)[who.ravel()], float(total[who.ravel()].mean())


def _neighbours(
    seekers: FloatArray, own: FloatArray, size: FloatArray, n_matches: int
) -> Iterator[tuple[int, list[int], FloatArray]]:
    """Yield for each seeker the distinct places that hold its nearest rows, and how far they are."""
    tree = cKDTree(own)
    k = min(n_matches + _SPARE, len(own))
    distances, found = (np.reshape(part, (len(seekers), k)) for part in tree.query(seekers, k=k))
    for i in range(len(seekers)):
        enough = int(np.searchsorted(np.cumsum(size[found[i]]), n_matches))
        reach = distances[i, min(enough, k - 1)] * (1 + _TIE) + _TIE
        if distances[i, -1] > reach or k == len(own):
            near = distances[i] <= reach
            yield i, found[i][near].tolist(), distances[i][near]
        else:
            points = sorted(tree.query_ball_point(seekers[i], reach))
            yield i, points, np.linalg.norm(own[points] - seekers[i], axis=1)


def conditional_variances(outcome: FloatArray, places: FloatArray, *, n_neighbours: int) -> FloatArray:
    r"""Estimate each row's outcome variance given its place from its own nearest others, shape (n_rows,).

    .. math:: \hat\sigma^2_i = \frac{J}{J + 1} \Big(y_i - \frac1J \sum_{j=1}^J y_{l_j(i)}\Big)^2

    (Abadie, Imbens 2006, equation 14). Ties take part, so that J may be larger.
    """
    n = len(outcome)
    every = np.arange(n)
    # One more than is asked for: every row finds itself.
    shares, _ = nearest(places, of=every, among=every, n_matches=min(n_neighbours + 1, n))
    counts = np.diff(shares.indptr)
    others = (shares @ outcome - outcome / counts) * counts / (counts - 1)
    found: FloatArray = (counts - 1) / counts * (outcome - others) ** 2
    return found


def matched_effect(
    outcome: FloatArray,
    treated: BoolArray,
    places: FloatArray,
    design: FloatArray,
    *,
    n_matches: int,
    n_neighbours: int,
    whom: Literal["att", "ate"],
) -> MatchedEffect:
    r"""Estimate an effect by nearest neighbours, less what covariates still differ within matches.

    What is missing is predicted by :math:`\hat y_i = \sum_j s_{ij} (y_j + \hat\mu(x_i) - \hat\mu(x_j))`, with :math:`\hat\mu`
    the regression within the other arm weighted by how often its rows are used (Abadie, Imbens 2011, section 3.2). With
    :math:`K_j = \sum_i s_{ij}` and :math:`K'_j = \sum_i s_{ij}^2` the variance is

    .. math::
        V_{ATT} = \frac{1}{N_1^2} \Big[\sum_{D = 1} (y_i - \hat y_i - \hat\tau)^2
            + \sum_{D = 0} (K_j^2 - K'_j)\, \hat\sigma^2_j\Big], \qquad
        V_{ATE} = \frac{1}{N^2} \Big[\sum_i (\hat y_i(1) - \hat y_i(0) - \hat\tau)^2
            + \sum_j (K_j^2 + 2 K_j - K'_j)\, \hat\sigma^2_j\Big]

    (Abadie, Imbens 2006, theorem 7, where without ties :math:`K'_j = K_j / M`).

    Raises
    ------
    causalbench.numerics.two_period.UndeterminedError
        When matches are too few for the regression.
    """
    n = len(outcome)
    arms = (True, False) if whom == "ate" else (True,)
    gaps, uses, squares, distances = np.zeros(n), np.zeros(n), np.zeros(n), []
    for arm in arms:
        of, among = np.flatnonzero(treated == arm), np.flatnonzero(treated != arm)
        shares, distance = nearest(places, of=of, among=among, n_matches=n_matches)
        distances.append((distance, len(of)))
        used = np.zeros(n)
        used[among] = np.asarray(shares.sum(axis=0)).ravel()
        uses[among], squares[among] = used[among], np.asarray(shares.power(2).sum(axis=0)).ravel()
        fitted = design @ regress(outcome, design, used, who="matches").coefficients
        missing = shares @ (outcome - fitted)[among] + fitted[of]
        gaps[of] = (outcome[of] - missing) * (1 if arm else -1)
    about = treated if whom == "att" else np.ones(n, dtype=bool)
    value = float(gaps[about].mean())
    factor = uses**2 - squares + (2 * uses if whom == "ate" else 0.0)
    spread = np.zeros(n)
    for arm in (True, False):
        rows = np.flatnonzero((treated == arm) & (factor > 0))
        if len(rows):
            spread[treated == arm] = conditional_variances(
                outcome[treated == arm], places[treated == arm], n_neighbours=n_neighbours
            )
    total = float(((gaps[about] - value) ** 2).sum() + factor @ spread)
    with_it = np.where(treated, outcome, outcome + gaps)[about]
    return MatchedEffect(
        value=value,
        variance=total / int(about.sum()) ** 2,
        treated_mean=float(with_it.mean()),
        uses=uses,
        mean_distance=sum(d * m for d, m in distances) / sum(m for _, m in distances),
    )
