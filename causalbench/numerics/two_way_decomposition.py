r"""What the two-way fixed-effects regression compares when units launch at different dates.

With a balanced panel and an absorbing treatment the coefficient of :math:`D_{it}` in
:math:`y_{it} = \alpha_i + \lambda_t + \tau D_{it} + \varepsilon_{it}` is a weighted mean of differences-in-differences
of two cohorts at a time (Goodman-Bacon 2021, Journal of Econometrics 225, 254-277, theorem 1, equation 10a). Those
whose comparison cohort is already treated are forbidden comparisons: its own effect, as far as it changes, is
subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Kind = Literal["treated-vs-never", "earlier-vs-later", "later-vs-earlier", "later-vs-always"]
FORBIDDEN: tuple[Kind, ...] = ("later-vs-earlier", "later-vs-always")
"""Comparisons with units that are treated already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoByTwo:
    """One difference-in-differences of two cohorts.

    Attributes
    ----------
    kind
        Which role the comparison cohort has.
    cohort, comparison
        Row numbers of the cohort that launches and of the one it is compared with.
    weight
        Its share of the two-way coefficient, at least zero.
    estimate
        Change of the cohort less change of the comparison, in units of the outcome.
    """

    kind: Kind
    cohort: int
    comparison: int
    weight: float
    estimate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoWayDecomposition:
    """All comparisons of a two-way regression, heaviest first; their weights add up to one."""

    comparisons: tuple[TwoByTwo, ...]

    @property
    def coefficient(self) -> float:
        """The two-way coefficient: the weighted sum of the comparisons."""
        return sum(c.weight * c.estimate for c in self.comparisons)

    @property
    def forbidden_share(self) -> float:
        """Weight of the comparisons with units treated already."""
        return sum(c.weight for c in self.comparisons if c.kind in FORBIDDEN)

    @property
    def allowed_coefficient(self) -> float | None:
        """Weighted mean of the other comparisons; None where there are none."""
        allowed = [c for c in self.comparisons if c.kind not in FORBIDDEN]
        weight = sum(c.weight for c in allowed)
        return sum(c.weight * c.estimate for c in allowed) / weight if weight > 0 else None

    def by_kind(self) -> dict[Kind, tuple[float, float]]:
        """Return weight and weighted mean estimate of every kind that occurs."""
        found: dict[Kind, tuple[float, float]] = {}
        for kind in dict.fromkeys(c.kind for c in self.comparisons):
            chosen = [c for c in self.comparisons if c.kind == kind]
            weight = sum(c.weight for c in chosen)
            found[kind] = (weight, sum(c.weight * c.estimate for c in chosen) / weight)
        return found


def decompose_two_way(means: FloatArray, counts: IntArray, first_treated: IntArray) -> TwoWayDecomposition:
    r"""Split the two-way coefficient into its comparisons of two cohorts.

    With :math:`n_k` units and :math:`\bar D_k` the share of periods in which cohort k is treated, the weights of
    equations 10e to 10g are, up to their common factor, :math:`n_k n_U \bar D_k (1 - \bar D_k)` for cohort k against
    the never treated, :math:`n_k n_l (\bar D_k - \bar D_l)(1 - \bar D_k)` for k against a later cohort l before l
    launches, and :math:`n_k n_l \bar D_l (\bar D_k - \bar D_l)` for l against k after k has launched. Cohorts treated
    in every period have :math:`\bar D_k = 1` and serve in the last kind only.

    Parameters
    ----------
    means
        Mean outcome by cohort and period, shape (n_cohorts, n_periods), without missing values.
    counts
        Units in each cohort, shape (n_cohorts,).
    first_treated
        Index of each cohort's first treated period, distinct; n_periods for the never treated, 0 for the always
        treated. Shape (n_cohorts,).

    Raises
    ------
    ValueError
        When no two cohorts can be compared, so that there is no coefficient either.

    Examples
    --------
    >>> import numpy as np
    >>> means = np.array([[0.0, 2.0, 4.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    >>> found = decompose_two_way(means, np.array([1, 1, 1]), np.array([1, 2, 3]))
    >>> round(found.coefficient, 4), round(found.forbidden_share, 4)
    (2.0, 0.1667)
    """
    n_periods = means.shape[1]
    share = 1 - np.asarray(first_treated) / n_periods
    sums = np.concatenate(
        [np.zeros((len(means), 1)), np.cumsum(means - means.mean(axis=1, keepdims=True), axis=1)], axis=1
    )
    order = [int(k) for k in np.argsort(first_treated, kind="stable")]
    found: list[TwoByTwo] = []
    for place, k in enumerate(order):
        for l in order[place + 1 :]:  # noqa: E741 - k and l as in the paper
            pairs = float(counts[k]) * float(counts[l])
            first, second = int(first_treated[k]), int(first_treated[l])
            never, always = second == n_periods, first == 0
            early = pairs * float((share[k] - share[l]) * (1 - share[k]))
            late = pairs * float(share[l] * (share[k] - share[l]))
            if early > 0:
                kind: Kind = "treated-vs-never" if never else "earlier-vs-later"
                value = _double_difference(sums[k] - sums[l], 0, first, second)
                found.append(TwoByTwo(kind=kind, cohort=k, comparison=l, weight=early, estimate=value))
            if late > 0:
                kind = "later-vs-always" if always else "later-vs-earlier"
                value = _double_difference(sums[l] - sums[k], first, second, n_periods)
                found.append(TwoByTwo(kind=kind, cohort=l, comparison=k, weight=late, estimate=value))
    return TwoWayDecomposition(comparisons=_normalised(found))


def _double_difference(sums: FloatArray, start: int, launch: int, stop: int) -> float:
    """Mean of a difference from launch to stop, less its mean from start to launch, from cumulated sums."""
    after = (sums[stop] - sums[launch]) / (stop - launch)
    before = (sums[launch] - sums[start]) / (launch - start)
    return float(after - before)


def _normalised(found: list[TwoByTwo]) -> tuple[TwoByTwo, ...]:
    total = sum(c.weight for c in found)
    if total <= 0:
        raise ValueError("no two cohorts differ in when they are treated, so there is nothing to compare")
    shares = [
        TwoByTwo(kind=c.kind, cohort=c.cohort, comparison=c.comparison, weight=c.weight / total, estimate=c.estimate)
        for c in found
    ]
    return tuple(sorted(shares, key=lambda c: (-c.weight, c.cohort, c.comparison)))
