"""Donor weights of many problems on the same units: on paths, penalised or not, or on predictors of chosen importance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from causalbench.estimators._predictors import Predictors
from causalbench.numerics.double_difference import stopped_donor_weights
from causalbench.numerics.nested_weights import solve_nested
from causalbench.numerics.simplex import solve_simplex
from causalbench.values import BoolArray, FloatArray

Penalty = float | Literal["auto"] | None

_PENALTIES = np.concatenate([[0.0], np.logspace(-4, 1, 21)])
"""Penalties that ``auto`` chooses from."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DonorWeights:
    """Weights of P problems.

    Attributes
    ----------
    weights
        Shape (P, n_units), zero for units that aren't donors.
    rel_gap
        Relative duality gap of each, shape (P,).
    detail
        What else belongs into each problem's diagnostics.
    warnings
        What the reader must know, per problem.
    """

    weights: FloatArray
    rel_gap: FloatArray
    detail: Sequence[Mapping[str, Any]]
    warnings: Sequence[tuple[str, ...]]


def on_paths(
    history: FloatArray, share: FloatArray, allowed: BoolArray, *, penalty: FloatArray | None = None
) -> DonorWeights:
    """Match paths, on one Gram matrix for all problems.

    Parameters
    ----------
    history
        Shape (n_units, n_columns).
    share
        What each unit counts in a problem's treated mean, shape (P, n_units).
    allowed
        Which units are donors, shape (P, n_units).
    penalty
        Price of each donor's own squared distance to the treated, shape (P,); none when None.
    """
    gram = history @ history.T
    cross = share @ gram
    square = (cross * share).sum(axis=1)
    tilt = None
    if penalty is not None:
        distance = np.maximum(np.diag(gram) - 2 * cross + square[:, None], 0.0)
        tilt = penalty[:, None] / 2 * distance
    solution = solve_simplex(gram, cross, square, allowed, tilt=tilt)
    detail: list[dict[str, Any]] = [{} for _ in share]
    if penalty is not None:
        detail = [{"penalty": float(value)} for value in penalty]
    return DonorWeights(weights=solution.weights, rel_gap=solution.rel_gap, detail=detail, warnings=[()] * len(share))


def held_out_penalty(training: FloatArray, validation: FloatArray, share: FloatArray, allowed: BoolArray) -> FloatArray:
    """Return, for each problem, the penalty whose weights on the first block of the history predict the second best.

    Parameters
    ----------
    training, validation
        Shape (n_units, n_columns) each; the second on the footing of the first.
    """
    errors = np.stack(
        [
            ((share - on_paths(training, share, allowed, penalty=np.full(len(share), value)).weights) @ validation) ** 2
            for value in _PENALTIES
        ]
    ).mean(axis=2)
    # The largest of those that predict equally well: rounding mustn't choose between them.
    best = errors <= errors.min(axis=0) * (1 + 1e-9)
    chosen: FloatArray = _PENALTIES[len(_PENALTIES) - 1 - best[::-1].argmax(axis=0)]
    return chosen


def on_predictors(predictors: Predictors, tracked: FloatArray, share: FloatArray, allowed: BoolArray) -> DonorWeights:
    """Match predictors whose importance is chosen so that the outcome is tracked, one nested problem after the other.

    Parameters
    ----------
    tracked
        Outcome in the periods to be tracked, shape (n_units, n_tracked).
    """
    weights, rel_gap = np.zeros(share.shape), np.zeros(len(share))
    detail, warnings = [], []
    for p, (own, donors) in enumerate(zip(share, allowed, strict=True)):
        fit = solve_nested(predictors.values[donors] - own @ predictors.values, tracked[donors] - own @ tracked)
        weights[p, donors], rel_gap[p] = fit.weights, fit.rel_gap
        importance = dict(zip(predictors.names, fit.importance.tolist(), strict=True))
        detail.append({"importance": importance, "fit_mspe": fit.loss, "fit_mspe_bound": fit.bound})
        matched = (
            "some mixture of donors has every predictor of the treated exactly, so their importance has no meaning; of "
            "these mixtures the one that tracks the outcome best is taken"
        )
        warnings.append((*predictors.warnings, *((matched,) if fit.matched else ())))
    return DonorWeights(weights=weights, rel_gap=rel_gap, detail=detail, warnings=warnings)


def on_stopped_search(history: FloatArray, share: FloatArray, allowed: BoolArray) -> DonorWeights:
    """Match paths as R's synthdid does, whose search stops early: weights without a certificate, the gap is NaN."""
    weights = stopped_donor_weights(history, share, allowed)
    n = len(share)
    said = (
        "the weights are those of R's synthdid, whose search stops before the optimum; conformal refits at the optimum"
    )
    return DonorWeights(weights=weights, rel_gap=np.full(n, np.nan), detail=[{}] * n, warnings=[(said,)] * n)


def period_centred(series: FloatArray) -> FloatArray:
    """Take out a period's median: weights that sum to one don't see it, and digits are saved.

    The median, because one unit of another size would spread through a mean into every series.
    """
    centred: FloatArray = series - np.median(series, axis=0)
    return centred
