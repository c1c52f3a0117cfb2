r"""From group-time effects to summaries, with the error of the estimated weights.

A summary is :math:`\theta = \sum_k p_k a_k / \sum_k p_k` over cells, with the share :math:`p_g = E[w_i 1\{G_i = g\}]` of
each cell's cohort (Callaway, Sant'Anna 2021, section 3), or a plain mean of such summaries. As shares are estimated, a
unit of cohort h adds to the error of :math:`\theta`, besides what it adds through the effects,

.. math:: \frac{w_i}{n} \Big(\sum_{k: g_k = h} a_k - \theta \, \#\{k: g_k = h\}\Big) \Big/ \sum_k p_k;

the terms in the shares themselves cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causalbench.numerics.comparisons import Cell

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """A linear combination of effects.

    Attributes
    ----------
    value
        The combination.
    weights
        Of the effects, shape (K,).
    shares
        Derivative in the cohorts' shares, per unit, shape (n_cohorts,).
    """

    value: float
    weights: FloatArray
    shares: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grouped:
    """Summaries by event time, cohort or period, their labels, and the overall one."""

    by: tuple[int, ...]
    parts: tuple[Summary, ...]
    overall: Summary


def cell_summaries(values: FloatArray, n_cohorts: int) -> list[Summary]:
    """Return every effect as a summary of itself."""
    nothing = np.zeros(n_cohorts)
    return [
        Summary(value=float(v), weights=row, shares=nothing) for v, row in zip(values, np.eye(len(values)), strict=True)
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
    own = shares[list(cohorts)]
    total = own.sum()
    value = float(own @ [part.value for part in parts] / total)
    derivative = sum((p * part.shares for p, part in zip(own, parts, strict=True)), np.zeros(len(shares))) / total
    np.add.at(derivative, list(cohorts), np.array([part.value - value for part in parts]) / total)
    weights = sum(p * part.weights for p, part in zip(own, parts, strict=True)) / total
    return Summary(value=value, weights=weights, shares=derivative)


def mean(parts: Sequence[Summary]) -> Summary:
    """Average parts with equal weights."""
    return Summary(
        value=float(np.mean([part.value for part in parts])),
        weights=np.mean([part.weights for part in parts], axis=0),
        shares=np.mean([part.shares for part in parts], axis=0),
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


def stack(summaries: Sequence[Summary]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return values (J,), weights (K, J) and derivatives in shares (n_cohorts, J) of several summaries."""
    return (
        np.array([summary.value for summary in summaries]),
        np.stack([summary.weights for summary in summaries], axis=1),
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
