r"""From group-time effects to summaries, with the error of the estimated weights.

A summary is :math:`\theta = \sum_k p_k a_k / \sum_k p_k` over cells, with the share :math:`p_g = E[w_i 1\{G_i = g\}]` of
each cell's cohort (Callaway, Sant'Anna 2021, section 3), or a plain mean of such summaries. As shares are estimated, a
unit of cohort h adds to the error of :math:`\theta`, besides what it adds through the effects,

.. math:: \frac{w_i}{n} \Big(\sum_{k: g_k = h} a_k - \theta \, \#\{k: g_k = h\}\Big) \Big/ \sum_k p_k;

the terms in the shares themselves cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from causalbench.numerics.comparisons import Cell

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """A linear combination of some of K effects.

    Attributes
    ----------
    value
        The combination.
    members, factors
        Numbers of the effects combined and the weight of each, shape (n_members,) each; weights of a number listed twice
        add up.
    n_effects
        K.
    shares
        Derivative in the cohorts' shares, per unit, shape (n_cohorts,).
    """

    value: float
    members: IntArray
    factors: FloatArray
    n_effects: int
    shares: FloatArray

    @property
    def weights(self) -> FloatArray:
        """Of the effects, shape (K,)."""
        found = np.zeros(self.n_effects)
        np.add.at(found, self.members, self.factors)
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grouped:
    """Summaries by event time, cohort or period, their labels, and the overall one."""

    by: tuple[int, ...]
    parts: tuple[Summary, ...]
    overall: Summary


def cell_summaries(values: FloatArray, n_cohorts: int) -> list[Summary]:
    """Return every effect as a summary of itself."""
    nothing, one, numbers = np.zeros(n_cohorts), np.ones(1), np.arange(len(values))
    return [
        Summary(value=value, members=numbers[k : k + 1], factors=one, n_effects=len(values), shares=nothing)
        for k, value in enumerate(values.tolist())
    ]


def share_weighted(parts: Sequence[Summary], cohorts: Sequence[int], shares: FloatArray) -> Summary:
    """Average parts by the share of each one's cohort.

    Parameters
    ----------
    parts
        What is averaged.
    cohorts
        Number of the cohort of each part.
    shares
        Share of every cohort, shape (n_cohorts,).
    """
    numbers = np.array(cohorts)
    total = shares[numbers].sum()
    found = _average(parts, shares[numbers] / total)
    gaps = np.array([part.value for part in parts]) - found.value
    return replace(found, shares=found.shares + np.bincount(numbers, gaps, minlength=len(shares)) / total)


def mean(parts: Sequence[Summary]) -> Summary:
    """Average parts with equal weights."""
    return _average(parts, np.full(len(parts), 1 / len(parts)))


def _average(parts: Sequence[Summary], factors: FloatArray) -> Summary:
    """Combine parts under given factors."""
    return Summary(
        value=float(factors @ [part.value for part in parts]),
        members=np.concatenate([part.members for part in parts]),
        factors=np.concatenate([f * part.factors for f, part in zip(factors.tolist(), parts, strict=True)]),
        n_effects=parts[0].n_effects,
        shares=factors @ np.array([part.shares for part in parts]),
    )


def simple(cells: Sequence[Cell], parts: Sequence[Summary], shares: FloatArray) -> Summary:
    """Average over every treated cell, each cohort by its share: the effect per treated unit and period."""
    after = [(cell, part) for cell, part in zip(cells, parts, strict=True) if cell.event_time >= 0]
    return share_weighted([part for _, part in after], [cell.cohort for cell, _ in after], shares)


def dynamic(cells: Sequence[Cell], parts: Sequence[Summary], shares: FloatArray) -> Grouped:
    """Average by event time; overall, the mean over event times from the launch on."""
    by = _grouped(cells, parts, [cell.event_time for cell in cells])
    found = {key: share_weighted(own, cohorts, shares) for key, (own, cohorts) in by.items()}
    return _with_overall(found, mean([part for key, part in found.items() if key >= 0]))


def calendar(cells: Sequence[Cell], parts: Sequence[Summary], shares: FloatArray) -> Grouped:
    """Average over treated cohorts by period; overall, the mean over periods."""
    after = [cell.event_time >= 0 for cell in cells]
    by = _grouped(cells, parts, [cell.period for cell in cells], keep=after)
    found = {key: share_weighted(own, cohorts, shares) for key, (own, cohorts) in by.items()}
    return _with_overall(found, mean(list(found.values())))


def group(cells: Sequence[Cell], parts: Sequence[Summary], shares: FloatArray) -> Grouped:
    """Average over periods by cohort; overall, weighted by the cohorts' shares."""
    after = [cell.event_time >= 0 for cell in cells]
    by = _grouped(cells, parts, [cell.cohort for cell in cells], keep=after)
    found = {key: mean(own) for key, (own, _) in by.items()}
    return _with_overall(found, share_weighted(list(found.values()), list(found), shares))


def stack(summaries: Sequence[Summary]) -> tuple[FloatArray, sparse.csc_array, FloatArray]:
    """Return values (J,), sparse weights (K, J) and derivatives in shares (n_cohorts, J) of several summaries."""
    ends = np.cumsum([0, *(len(summary.members) for summary in summaries)])
    members = np.concatenate([summary.members for summary in summaries])
    factors = np.concatenate([summary.factors for summary in summaries])
    return (
        np.array([summary.value for summary in summaries]),
        sparse.csc_array((factors, members, ends), shape=(summaries[0].n_effects, len(summaries))),
        np.stack([summary.shares for summary in summaries], axis=1),
    )


def _grouped(
    cells: Sequence[Cell], parts: Sequence[Summary], keys: Sequence[int], keep: Sequence[bool] | None = None
) -> dict[int, tuple[list[Summary], list[int]]]:
    found: dict[int, Any] = {}
    for i in sorted(range(len(cells)), key=lambda i: keys[i]):
        if keep is None or keep[i]:
            own, cohorts = found.setdefault(keys[i], ([], []))
            own.append(parts[i])
            cohorts.append(cells[i].cohort)
    return found


def _with_overall(found: dict[int, Summary], overall: Summary) -> Grouped:
    return Grouped(by=tuple(found), parts=tuple(found.values()), overall=overall)
