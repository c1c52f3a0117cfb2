r"""Several methods' answers to one question, combined by how they err together.

Placebos give the joint errors :math:`e_b` of all methods, with no launch behind them. The combination :math:`\hat\tau = w'\hat
\tau_{1..M}` has weights that minimise its mean squared placebo error, are not negative and sum to one:

.. math:: \hat w = \arg\min_{w \ge 0,\, 1'w = 1} \; w' \Bigl[\tfrac1B \sum_b e_b e_b'\Bigr] w .

The sign constraint is a shrinkage of the large covariances (Jagannathan, Ma 2003), and one that doesn't look at how many
methods there are: methods that err together share one weight, and a method that is entered twice changes nothing. The error of
the combination is that of placebos whose weights were chosen without them, in ten folds.

Consistency is judged by the differences between methods, from which the unknown effect drops out. For contrasts :math:`d_b =
C e_b` of the placebos and :math:`d_0 = C \hat\tau_{1..M}` of the launch,

.. math:: T_b = d_b' \Bigl[\sum_{k=0}^{B} d_k d_k'\Bigr]^{+} d_b, \qquad p = \frac{1 + \#\{b \ge 1 : T_b \ge T_0\}}{B + 1} .

The launch enters the covariance like every placebo, so the rank is exact whatever the law of the errors, heavy tails included,
where the launch's own errors and the placebos' are exchangeable. Placebos of one group aren't: their share is counted as that of
so many groups, which is no theorem. Simulated with near copies of the same placebos the test keeps its size
(``tests/simulation/test_triangulation.py``); where windows differ, as in a history with regimes, nothing promises it.

References: Bates, Granger (1969), Operational Research Quarterly 20, 451-468 (https://doi.org/10.1057/jors.1969.103);
Jagannathan, Ma (2003), Journal of Finance 58, 1651-1683 (https://doi.org/10.1111/1540-6261.00580).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from causalbench.artifacts import plain
from causalbench.errors import DataError, listing
from causalbench.numerics.simplex import solve_simplex
from causalbench.values import FloatArray, IntArray, Interval, rejects
from causalbench.wording import counted, number

CONSISTENCY_LEVEL = 0.95
"""The verdict on consistency is a test of this level, whatever the level of the interval."""

_FOLDS = 10
_FEWEST = 5
_SAME = 1e-9
_SINGULAR = 1e-8
_TOLD = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Triangulation:
    """One answer from several methods, and whether they agree.

    Attributes
    ----------
    value
        Weighted mean of the estimates, in their units.
    std_error
        Root mean squared error of the combination over placebos that had no part in its weights; None with fewer than five.
    interval
        Every effect closer to ``value`` than the placebo errors reach at this level; None where there are too few of them.
    weights
        Of each method; not negative, summing to one.
    consistent
        Whether the methods differ by no more than they do on placebos, tested at 5%; None where that can't be told.
    p_value
        Of that test; None where it can't be told.
    apart
        Difference of each method from the best combination of the others, in units of that difference on placebos; None where
        they never differ.
    rmse
        Root mean squared placebo error of each method.
    n_placebos, n_independent
        Placebos used, and how many of them count as independent.
    reason
        All of it in words.
    """

    value: float
    std_error: float | None
    interval: Interval | None
    weights: Mapping[str, float]
    consistent: bool | None
    p_value: float | None
    apart: Mapping[str, float | None] = field(default_factory=dict)
    rmse: Mapping[str, float] = field(default_factory=dict)
    n_placebos: int = 0
    n_independent: int = 0
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values under the names of the fields."""
        result: dict[str, Any] = plain(self)
        return result


def triangulate(
    estimates: Mapping[str, float],
    errors: FloatArray,
    *,
    level: float = 0.95,
    groups: Sequence[Hashable] | None = None,
) -> Triangulation:
    """Combine the estimates of several methods by the joint covariance of their placebo errors.

    Parameters
    ----------
    estimates
        Effect by method, in the same units as the errors.
    errors
        What each method found where nothing was launched, shape (n_methods, n_placebos); rows in the order of ``estimates``,
        and each column the same placebo for all. Columns with a missing error are left out.
    level
        Confidence level of the interval.
    groups
        Label of each placebo; those with the same label, such as overlapping windows of one unit, count as one. By default
        every placebo counts.

    Raises
    ------
    DataError
        When there is no method, an estimate isn't finite, or the shapes don't go together.

    Notes
    -----
    Not for methods that estimate different things, such as the average over units and over people: they differ for a reason.
    The verdict can't see what all methods get wrong alike.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> shared, own = rng.normal(size=100), rng.normal(size=100)
    >>> errors = np.array([shared, shared, 2 * own])
    >>> found = triangulate({"a": 3.0, "again": 3.0, "b": 2.0}, errors, level=0.9)
    >>> round(found.weights["a"], 2) == round(found.weights["again"], 2), found.consistent
    (True, True)
    """
    names, values, known, labels = _inputs(estimates, errors, groups)
    keys, codes = np.unique(labels, return_inverse=True)
    n_independent = len(keys)
    kinds = _kinds(values, known)
    first = np.unique(kinds, return_index=True)[1]
    shared = np.bincount(kinds)[kinds]
    distinct, kept = known[first], values[first]
    weights = _weights(distinct)[kinds] / shared
    value = float(weights @ values)
    left_out = _errors_left_out(distinct, codes)
    p_value = _p_value(kept, distinct, n_independent)
    judged = p_value is not None and rejects(1 / (n_independent + 1), CONSISTENCY_LEVEL)
    consistent = None if not judged or p_value is None else not rejects(p_value, CONSISTENCY_LEVEL)
    found = Triangulation(
        value=value,
        std_error=None if left_out is None else float(np.sqrt((left_out**2).mean())),
        interval=_interval(value, left_out, n_independent, level=level),
        weights={name: float(weight) for name, weight in zip(names, weights, strict=True)},
        consistent=consistent,
        p_value=p_value if judged else None,
        apart=dict(zip(names, _apart(values, known), strict=True)),
        rmse={name: float(size) for name, size in zip(names, _rms(known), strict=True)},
        n_placebos=known.shape[1],
        n_independent=n_independent,
    )
    odd = None if consistent is not False else _odd_one_out(names, values, known, n_independent)
    return replace(found, reason=_reason(found, odd, level=level))


def _inputs(
    estimates: Mapping[str, float], errors: FloatArray, groups: Sequence[Hashable] | None
) -> tuple[tuple[str, ...], FloatArray, FloatArray, IntArray]:
    """Check shapes and values; returns names, estimates, errors without missing ones, and the group of each."""
    names = tuple(estimates)
    values = np.array([estimates[name] for name in names], dtype=float)
    table = np.asarray(errors, dtype=float)
    if not names or table.ndim != 2 or len(table) != len(names):
        raise DataError(
            f"{len(names)} estimates and errors of shape {table.shape} don't go together",
            remedy="give one row of placebo errors per method",
        )
    wrong = [name for name, value in zip(names, values, strict=True) if not math.isfinite(value)]
    if wrong:
        raise DataError(f"estimates without a value: {listing(wrong)}", remedy="leave out methods that can't answer")
    if groups is not None and len(groups) != table.shape[1]:
        raise DataError(
            f"{len(groups)} groups for {table.shape[1]} placebos", remedy="give every placebo the label of its group"
        )
    label = {key: number for number, key in enumerate(dict.fromkeys(groups or ()))}
    codes = np.arange(table.shape[1]) if groups is None else np.array([label[key] for key in groups], dtype=np.int64)
    usable = np.isfinite(table).all(axis=0)
    return names, values, table[:, usable], codes[usable]


def _kinds(values: FloatArray, errors: FloatArray) -> IntArray:
    """Number the methods so that those whose answer and every error are the same share a number; shape (n_methods,)."""
    rows = np.column_stack([values, errors])
    size = max(float(np.abs(rows).max(initial=0.0)), np.finfo(float).tiny)
    kinds = np.arange(len(rows))
    for i in range(len(rows)):
        same = np.flatnonzero(np.abs(rows[:i] - rows[i]).max(axis=1) <= _SAME * size) if i else np.empty(0, dtype=int)
        kinds[i] = kinds[same[0]] if len(same) else kinds[:i].max(initial=-1) + 1
    return kinds


def _weights(errors: FloatArray) -> FloatArray:
    """Return the weights of smallest mean squared error, equal ones without errors; shape (n_methods,)."""
    n = len(errors)
    if n == 1 or errors.shape[1] == 0 or not np.abs(errors).max() > 0:
        return np.full(n, 1 / n)
    scaled = errors / np.abs(errors).max()
    gram = scaled @ scaled.T / errors.shape[1]
    weights: FloatArray = solve_simplex(gram, np.zeros((1, n)), np.zeros(1)).weights[0]
    return weights


def _errors_left_out(errors: FloatArray, codes: IntArray) -> FloatArray | None:
    """Return the combination's errors on placebos that had no part in its weights, whole groups at a time."""
    n_groups = len(np.unique(codes))
    if n_groups < _FEWEST:
        return None
    place = np.unique(codes, return_inverse=True)[1]
    fold = place * min(_FOLDS, n_groups) // n_groups
    found = np.empty(errors.shape[1])
    for number_ in range(fold.max() + 1):
        out = fold == number_
        found[out] = _weights(errors[:, ~out]) @ errors[:, out]
    return found


def _p_value(values: FloatArray, errors: FloatArray, n_independent: int) -> float | None:
    """Rank the launch's differences between methods among those of the placebos; None with one method or no placebo."""
    if len(values) < 2 or errors.shape[1] == 0:
        return None
    # From the mean of all, so that no method is singled out; any set of contrasts gives the same ranks.
    sets = np.column_stack([values, errors])
    contrasts = sets - sets.mean(axis=0)
    scatter = contrasts @ contrasts.T
    if not np.trace(scatter) > 0:
        return 1.0
    distances = np.einsum("ib,ij,jb->b", contrasts, np.linalg.pinv(scatter, rcond=_SINGULAR, hermitian=True), contrasts)
    share = float((distances[1:] >= distances[0] * (1 - _SAME)).mean())
    return (1 + n_independent * share) / (n_independent + 1)


def _rms(rows: FloatArray) -> FloatArray:
    """Root mean square of each row; NaN without columns."""
    if rows.shape[1] == 0:
        return np.full(len(rows), math.nan)
    root: FloatArray = np.sqrt((rows**2).mean(axis=1))
    return root


def _apart(values: FloatArray, errors: FloatArray) -> tuple[float | None, ...]:
    """Hold each method against the best combination of the others, in units of that difference on placebos."""
    found: list[float | None] = []
    for i in range(len(values)):
        rest = np.arange(len(values)) != i
        weights = _weights(errors[rest]) if rest.any() else np.empty(0)
        usual = _rms((errors[i] - weights @ errors[rest])[None])[0] if rest.any() else 0.0
        found.append(float((values[i] - weights @ values[rest]) / usual) if usual > 0 else None)
    return tuple(found)


def _interval(value: float, errors: FloatArray | None, n_independent: int, *, level: float) -> Interval | None:
    """Widen by the error that placebos exceed with at most 1 - level, counted as :math:`(n + 1)` ranks."""
    rank = math.ceil((n_independent + 1) * level - _SAME)
    if errors is None or rank > n_independent:
        return None
    half = float(np.quantile(np.abs(errors), rank / n_independent, method="inverted_cdf"))
    return Interval(segments=((value - half, value + half),), level=level, kind="placebo")


def _odd_one_out(
    names: tuple[str, ...], values: FloatArray, errors: FloatArray, n_independent: int
) -> tuple[str, float] | None:
    """Return the method without which the others agree best, and their p-value; None where they never do."""
    found = []
    for i, name in enumerate(names):
        rest = np.arange(len(names)) != i
        p_value = _p_value(values[rest], errors[rest], n_independent)
        if p_value is not None and not rejects(p_value, CONSISTENCY_LEVEL):
            found.append((p_value, name))
    if not found:
        return None
    p_value, name = max(found)
    return name, p_value


def _reason(found: Triangulation, odd: tuple[str, float] | None, *, level: float) -> str:
    """Say whether the methods agree, who doesn't, and who has the weight."""
    shares = sorted(found.weights.items(), key=lambda item: -item[1])
    text = "Weights: " + ", ".join(f"{name} {share:.0%}" for name, share in shares if share >= _TOLD) + "."
    placebos = counted(found.n_independent, "independent placebo")
    if found.interval is None:
        text += f" A {100 * level:g}% interval needs {_needed(level)} independent placebos, there are {found.n_independent}."
    if len(found.weights) == 1:
        return f"One method answers, so there is nothing to hold it against. {text}"
    if found.n_placebos and not any(size is not None for size in found.apart.values()):
        return f"The methods never differ, here or where nothing was launched: they are one method. {text}"
    if found.p_value is None:
        return f"{placebos} can't tell whether the methods agree: {_needed(CONSISTENCY_LEVEL)} are needed. {text}"
    chance = f"(p = {number(found.p_value, digits=2)}, {placebos})"
    if found.consistent:
        return f"The methods differ by no more than they do where nothing was launched {chance}. {text}"
    out = ""
    if odd is not None:
        name, rest = odd
        out = f" Without {name} the others agree (p = {number(rest, digits=2)})."
    return (
        f"The methods differ by more than they do where nothing was launched {chance}: at least one of their assumptions "
        f"fails here.{out} Don't lean on the combination. {text}"
    )


def _needed(level: float) -> int:
    """Return how many exchangeable placebos it takes for a tail of 1 - level."""
    return math.ceil(level / (1 - level) - _SAME)
