r"""Effects of many versions of one cross-section by a few Newton steps from its own nuisances, instead of as many fits.

A version has other weights (a subset, a bootstrap draw), another treatment (a permutation) or one more covariate. Its
logit and its outcome regressions start at those of the data itself, with the Hessian of the data itself, scaled:

.. math:: \gamma \leftarrow \gamma + \left( \frac{\sum_i w_i}{n} H \right)^{-1} \sum_i w_i x_i (d_i - p_i(\gamma))

and alike for least squares. Each step multiplies the error by the relative distance of the Hessians, so three steps leave
:math:`O_p(n^{-2})`; a logit gets up to twelve, and one that still isn't at its optimum then, as near separation, is
fitted to the end. All versions are worked at once, as matrix products. Nuisances are a logit and linear regressions,
whatever the estimator's learner, without cross-fitting: the first-order behaviour is that of the estimator with linear
learners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Form = Literal["aipw", "ipw", "regression", "common"]
"""``regression`` predicts by arm, ``common`` is one regression on treatment and covariates."""

_STEPS = 3
_MOST_STEPS = 12
_CHUNK = 25
_MOST_LOG_ODDS = 30.0
_SETTLED = 1e-3
"""Twice the log likelihood that is left to gain: versions with more are fitted to the end."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Versions:
    """Many versions of one cross-section; arrays have shape (n_versions, n) or are None for what doesn't change.

    Attributes
    ----------
    treatment
        0 and 1.
    weights
        Not negative.
    extra
        One more covariate.
    """

    treatment: FloatArray | None = None
    weights: FloatArray | None = None
    extra: FloatArray | None = None

    def __len__(self) -> int:
        return max(len(array) for array in (self.treatment, self.weights, self.extra) if array is not None)

    def part(self, rows: slice) -> Versions:
        """Return some of the versions."""
        cut = {name: getattr(self, name) for name in ("treatment", "weights", "extra")}
        return Versions(**{name: None if array is None else array[rows] for name, array in cut.items()})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A cross-section as arrays.

    Attributes
    ----------
    design
        Constant first and independent columns, of similar scale; shape (n, k).
    outcome, treatment, weights
        Shape (n,).
    codes
        Cluster of each unit from 0 up, shape (n,); None: units are independent.
    """

    design: FloatArray
    outcome: FloatArray
    treatment: FloatArray
    weights: FloatArray
    codes: IntArray | None = None


def fit_logit(
    design: FloatArray,
    treatment: FloatArray,
    weights: FloatArray,
    *,
    start: FloatArray | None = None,
    n_steps: int = 50,
) -> FloatArray:
    """Return the coefficients of a logit by Newton steps, halved where the likelihood falls; shape (k,).

    Steps stop once the likelihood does. Under separation, where coefficients grow without end, that is when nothing is left
    to gain; large log odds alone are no sign of it: units that nobody resembles have them at a finite optimum too.
    """
    beta = np.zeros(design.shape[1]) if start is None else start
    current = _log_likelihood(design @ beta, treatment, weights)
    for _ in range(n_steps):
        odds = design @ beta
        p = _expit(odds)
        hessian = (design * (weights * p * (1 - p))[:, None]).T @ design
        hessian += 1e-9 * np.trace(hessian) / len(beta) * np.eye(len(beta))
        move = linalg.solve(hessian, design.T @ (weights * (treatment - p)), assume_a="pos")
        size = 1.0
        while size > 1e-4 and _log_likelihood(design @ (beta + size * move), treatment, weights) < current - 1e-12:
            size /= 2
        beta = beta + size * move
        latest = _log_likelihood(design @ beta, treatment, weights)
        if abs(latest - current) < 1e-11 * (abs(current) + 1):
            break
        current = latest
    return beta


def _log_likelihood(odds: FloatArray, treatment: FloatArray, weights: FloatArray) -> float:
    return float(weights @ (treatment * odds - np.logaddexp(0.0, odds)))


def _expit(odds: FloatArray) -> FloatArray:
    bounded = np.clip(odds, -_MOST_LOG_ODDS, _MOST_LOG_ODDS)
    result: FloatArray = 1 / (1 + np.exp(-bounded))
    return result


def propensities(sample: Sample) -> FloatArray:
    """Return the probability of treatment of a logit, shape (n,)."""
    return _expit(sample.design @ fit_logit(sample.design, sample.treatment, sample.weights))


def version_propensities(sample: Sample, versions: Versions) -> FloatArray:
    """Return the probability of treatment in every version, shape (n_versions, n)."""
    beta = fit_logit(sample.design, sample.treatment, sample.weights)
    parts = [versions.part(slice(i, i + _CHUNK)) for i in range(0, len(versions), _CHUNK)]
    return np.vstack([_version_odds(sample, part, beta) for part in parts])


def effects(sample: Sample, versions: Versions, *, form: Form, estimand: Literal["att", "ate"]) -> FloatArray:
    """Return effect and standard error of every version, shape (n_versions, 2); see the module for how.

    Errors are those of the influence function with the nuisances taken as known, by cluster where there are clusters.
    """
    p_hat = sample.treatment @ sample.weights / sample.weights.sum()
    beta = fit_logit(sample.design, sample.treatment, sample.weights)
    if versions.treatment is not None:
        beta = np.r_[np.log(p_hat / (1 - p_hat)), np.zeros(len(beta) - 1)]
    found = []
    for start in range(0, len(versions), _CHUNK):
        part = versions.part(slice(start, start + _CHUNK))
        found.append(_effects(sample, part, beta, form, estimand))
    return np.vstack(found)


def _effects(sample: Sample, part: Versions, beta: FloatArray, form: Form, estimand: str) -> FloatArray:
    shape = (len(part), len(sample.outcome))
    w = np.broadcast_to(sample.weights, shape) if part.weights is None else part.weights * sample.weights
    d = np.broadcast_to(sample.treatment, shape) if part.treatment is None else part.treatment
    if form == "common":
        return _common_slopes(sample, part, w, d)
    p = None if form == "regression" else _version_odds(sample, part, beta)
    zero = np.zeros(shape)
    fit0 = zero if form == "ipw" else _version_fit(sample, part, w * (1 - d), sample.outcome)
    if estimand == "att":
        odds = np.ones(shape) if p is None else p / (1 - p)
        rest = sample.outcome - fit0
        a, b = w * d, w * (1 - d) * odds
        first, second = _means(rest, a), _means(rest, b)
        shares = a / _sum(a) * (rest - first) - b / _sum(b) * (rest - second)
        return np.column_stack([(first - second)[:, 0], _errors(shares, sample.codes)])
    fit1 = zero if form == "ipw" else _version_fit(sample, part, w * d, sample.outcome)
    a, b = (w * d, w * (1 - d)) if p is None else (w * d / p, w * (1 - d) / (1 - p))
    gap = fit1 - fit0
    base, first, second = _means(gap, w), _means(sample.outcome - fit1, a), _means(sample.outcome - fit0, b)
    shares = w / _sum(w) * (gap - base)
    shares += a / _sum(a) * (sample.outcome - fit1 - first) - b / _sum(b) * (sample.outcome - fit0 - second)
    return np.column_stack([(base + first - second)[:, 0], _errors(shares, sample.codes)])


def _common_slopes(sample: Sample, part: Versions, w: FloatArray, d: FloatArray) -> FloatArray:
    """Return the coefficient of the treatment beside the covariates, by what they leave of treatment and outcome."""
    left = d - _version_fit(sample, part, w, d)
    rest = sample.outcome - _version_fit(sample, part, w, sample.outcome)
    found = (w * left * rest).sum(axis=1, keepdims=True) / _sum(w * left**2)
    shares = w * left * (rest - found * left) / _sum(w * left**2)
    return np.column_stack([found[:, 0], _errors(shares, sample.codes)])


def _sum(weights: FloatArray) -> FloatArray:
    total: FloatArray = weights.sum(axis=1, keepdims=True)
    return total


def _means(values: FloatArray, weights: FloatArray) -> FloatArray:
    means: FloatArray = (values * weights).sum(axis=1, keepdims=True) / _sum(weights)
    return means


def _errors(shares: FloatArray, codes: IntArray | None) -> FloatArray:
    """Return the root of the summed squares of contributions, by cluster; shape (n_versions,)."""
    if codes is not None:
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) > 0])
        shares = np.add.reduceat(shares[:, order], starts, axis=1)
    result: FloatArray = np.sqrt((shares**2).sum(axis=1))
    return result


def _version_odds(sample: Sample, part: Versions, beta: FloatArray) -> FloatArray:
    """Return the probability of treatment in every version, by Newton steps with the Hessian of the data."""
    x, n_versions = sample.design, len(part)
    shape = (n_versions, len(x))
    w = np.broadcast_to(sample.weights, shape) if part.weights is None else part.weights * sample.weights
    d = np.broadcast_to(sample.treatment, shape) if part.treatment is None else part.treatment
    start = _expit(x @ beta)
    info = sample.weights * start * (1 - start)
    inverse = _inverse((x * info[:, None]).T @ x)
    scale = _sum(w) / sample.weights.sum()
    gammas, more = np.repeat(beta[None], n_versions, axis=0), np.zeros((n_versions, 1))
    p = np.broadcast_to(start, shape)
    score = w * (d - p)
    for step in range(_MOST_STEPS):
        gammas = gammas + (score @ x) @ inverse / scale
        odds = gammas @ x.T
        if part.extra is not None:
            more = more + (score * part.extra).sum(axis=1, keepdims=True) / (
                (info * part.extra**2) @ np.ones((len(x), 1))
            )
            odds += more * part.extra
        p = _expit(odds)
        score = w * (d - p)
        slope = score @ x
        left = (slope @ inverse * slope).sum(axis=1) / scale[:, 0]
        if step + 1 >= _STEPS and (left <= _SETTLED).all():
            break
    for row in np.flatnonzero(left > _SETTLED).tolist():
        columns = x if part.extra is None else np.column_stack([x, part.extra[row]])
        begin = np.r_[beta, np.zeros(columns.shape[1] - len(beta))]
        p[row] = _expit(columns @ fit_logit(columns, d[row], w[row], start=begin, n_steps=15))
    return p


def _version_fit(sample: Sample, part: Versions, weights: FloatArray, y: FloatArray) -> FloatArray:
    """Return the fits of a weighted linear regression in every version, at all rows; shape (n_versions, n)."""
    x = sample.design
    # In a permuted arm covariates look like those of all units, in an arm of the data like those of that arm.
    centre = sample.weights if part.treatment is not None else weights.mean(axis=0)
    gram = (x * centre[:, None]).T @ x
    inverse = _inverse(gram)
    scale = _sum(weights) / centre.sum()
    betas, more = np.broadcast_to((centre * y) @ x @ inverse, (len(part), x.shape[1])), np.zeros((len(part), 1))
    fit = betas @ x.T
    for _ in range(_STEPS):
        score = weights * (y - fit)
        betas = betas + (score @ x) @ inverse / scale
        fit = betas @ x.T
        if part.extra is not None:
            spread = (weights * part.extra**2).sum(axis=1, keepdims=True)
            more = more + (score * part.extra).sum(axis=1, keepdims=True) / spread
            fit = fit + more * part.extra
    return fit


def _inverse(gram: FloatArray) -> FloatArray:
    k = len(gram)
    result: FloatArray = np.linalg.inv(gram + 1e-12 * np.trace(gram) / k * np.eye(k))
    return result
