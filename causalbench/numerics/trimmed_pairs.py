r"""Trimmed differences of pairs: the ratio at which their trimmed mean is zero, and the test that its set inverts.

With the differences :math:`y_i` in response and :math:`x_i` in cost of n pairs, :math:`e_i(\theta) = y_i - \theta x_i`, and m
pairs trimmed at either end of the ordered :math:`e_{(1)} \le \dots \le e_{(n)}` (Chen, Au 2022),

.. math::
    \hat\theta:\ \sum_{i=m+1}^{n-m} e_{(i)}(\hat\theta) = 0, \qquad
    T(\theta) = \frac{\sum_{i=m+1}^{n-m} e_{(i)}(\theta)}{\sqrt{\frac{h}{h-1} S_w(\theta)}}, \quad h = n - 2m,

where :math:`S_w` is the sum of squares of the winsorized :math:`e_{(i)}` about their mean: the studentized trimmed mean of Tukey
and McLaughlin (1963), close to a t on :math:`h - 1` degrees of freedom.

The order of the :math:`e_i(\theta)` changes only where two of them cross, at :math:`(y_i - y_j) / (x_i - x_j)`. Between crossings
the sum is linear and its variance quadratic in :math:`\theta`, so roots and sets are found piece by piece without a grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CELLS = 2_000_000
_SLACK = 1e-12
_MOST = 0.25
_FEWEST_KEPT = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Differences of pairs, treated less control.

    Attributes
    ----------
    response, cost
        Shape (n_pairs,). A cost of one in every pair makes the ratio the trimmed mean of the responses.
    """

    response: FloatArray
    cost: FloatArray

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self.response)

    def residuals(self, ratio: float) -> FloatArray:
        """Return y - ratio x."""
        left: FloatArray = self.response - ratio * self.cost
        return left

    def kept(self, ratio: float, n_trimmed: int) -> IntArray:
        """Return the numbers of the pairs in the middle of the residuals' order."""
        order = np.argsort(self.residuals(ratio), kind="stable")
        middle: IntArray = np.sort(order[n_trimmed : self.n_pairs - n_trimmed])
        return middle


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimmedRatio:
    """A ratio and its standard error (Chen, Au 2022, equation 8.2) with some pairs trimmed at either end."""

    n_trimmed: int
    ratio: float
    std_error: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pieces:
    """Stretches of the ratio within which the order of the residuals doesn't change.

    ``start`` and ``end`` have shape (n_pieces,); so have the sums ``y`` and ``x`` over the pairs kept, and the winsorized sums of
    squares and products about their means ``yy``, ``xy`` and ``xx``.
    """

    start: FloatArray
    end: FloatArray
    y: FloatArray
    x: FloatArray
    yy: FloatArray
    xy: FloatArray
    xx: FloatArray


def n_trimmed_at(rate: float, n_pairs: int) -> int:
    """Return how many pairs a share stands for at either end, rounded up.

    Examples
    --------
    >>> n_trimmed_at(0.2, 4), n_trimmed_at(0.25, 4), n_trimmed_at(0.1, 30)
    (1, 1, 3)
    """
    return math.ceil(rate * n_pairs - 1e-9)


def auto_counts(n_pairs: int) -> range:
    """Return the numbers of pairs to trim at either end that ``auto`` chooses among: up to a quarter, three pairs kept."""
    return range(max(min(int(_MOST * n_pairs + 1e-9), (n_pairs - _FEWEST_KEPT) // 2), 0) + 1)


def trimmed_ratio(pairs: Pairs, n_trimmed: int) -> TrimmedRatio | None:
    """Return the ratio at which the trimmed mean is zero; None where there is none.

    Of several roots the one is taken around which the middle of the residuals is most symmetric: the smallest mean of
    :math:`|e_{(i)} + e_{(n+1-i)}|` over the pairs kept.
    """
    roots: list[float] = []
    for piece in _pieces(pairs, n_trimmed):
        with np.errstate(invalid="ignore", divide="ignore"):
            root = piece.y / piece.x
        slack = _SLACK * np.abs(root)
        roots += root[np.isfinite(root) & (root >= piece.start - slack) & (root <= piece.end + slack)].tolist()
    if not roots:
        return None
    best = min(sorted(set(roots)), key=lambda root: _asymmetry(pairs, root, n_trimmed))
    return TrimmedRatio(n_trimmed=n_trimmed, ratio=best, std_error=_std_error(pairs, best, n_trimmed))


def chosen_trim(pairs: Pairs, candidates: tuple[TrimmedRatio, ...]) -> TrimmedRatio:
    r"""Return the candidate with the fewest pairs trimmed whose standard error is near the smallest.

    Near is at most :math:`1 + 1 / (4 \sqrt n)` times it. Standard errors depend on the residuals alone, so that the choice is the
    same whatever effect is taken off.
    """
    bound = (1 + 0.25 / math.sqrt(pairs.n_pairs)) * min(candidate.std_error for candidate in candidates)
    return next(candidate for candidate in candidates if candidate.std_error <= bound)


def studentized(pairs: Pairs, ratio: float, n_trimmed: int) -> float:
    """Return T at a ratio; infinite, or zero, where nothing varies."""
    left = np.sort(pairs.residuals(ratio))
    kept = left[n_trimmed : pairs.n_pairs - n_trimmed]
    pulled = np.clip(left, kept[0], kept[-1])
    square = float(((pulled - pulled.mean()) ** 2).sum()) * len(kept) / (len(kept) - 1)
    total = float(kept.sum())
    if square <= 0:
        return math.copysign(math.inf, total) if total else 0.0
    return total / math.sqrt(square)


def flipped_statistics(residuals: FloatArray, counts: Sequence[int]) -> FloatArray:
    """Return the studentized trimmed mean of every row, in absolute value, trimmed by the rule of ``auto`` among ``counts``.

    Parameters
    ----------
    residuals
        Shape (n_rows, n_pairs).
    counts
        Numbers of pairs to trim at either end, ascending; one leaves no choice.
    """
    rows = np.sort(residuals, axis=1)
    n_pairs = rows.shape[1]
    middle = rows[:, n_pairs // 2]
    moved = rows - middle[:, None]  # squares are summed about the median: no cancellation
    zero = np.zeros((len(rows), 1))
    sums, squares = (np.hstack([zero, powers.cumsum(axis=1)]) for powers in (moved, moved**2))
    nothing = n_pairs * (_SLACK * np.abs(rows).max(axis=1)) ** 2
    statistics, errors = np.empty((2, len(counts), len(rows)))
    for k, m in enumerate(counts):
        kept, low, high = n_pairs - 2 * m, moved[:, m], moved[:, n_pairs - m - 1]
        inner = sums[:, n_pairs - m] - sums[:, m]
        total = inner + m * (low + high)
        square = squares[:, n_pairs - m] - squares[:, m] + m * (low**2 + high**2)
        about_mean = square - total**2 / n_pairs
        trimmed = inner / kept
        errors[k] = np.sqrt(np.maximum(square - 2 * trimmed * total + n_pairs * trimmed**2, 0.0)) / kept
        spread = np.where(about_mean > nothing, about_mean, 0.0) * kept / (kept - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistics[k] = np.abs(inner + kept * middle) / np.sqrt(spread)
    bound = (1 + 0.25 / math.sqrt(n_pairs)) * errors.min(axis=0)
    chosen = (errors <= bound).argmax(axis=0)
    found: FloatArray = np.nan_to_num(statistics[chosen, np.arange(len(rows))], nan=0.0, posinf=np.inf)
    return found


def trimmed_set(pairs: Pairs, n_trimmed: int, *, quantile: float) -> tuple[tuple[float, float], ...]:
    """Return every ratio with ``|T| <= quantile``, as closed segments with ends that may be infinite.

    Raises
    ------
    ValueError
        When fewer than two pairs are kept.
    """
    kept = pairs.n_pairs - 2 * n_trimmed
    if kept < 2:
        raise ValueError(f"{n_trimmed} of {pairs.n_pairs} pairs trimmed at either end leave {kept}")
    factor = quantile**2 * kept / (kept - 1)
    found: list[tuple[float, float]] = []
    for piece in _pieces(pairs, n_trimmed):
        found += _within(
            piece,
            piece.x**2 - factor * piece.xx,
            factor * piece.xy - piece.x * piece.y,
            piece.y**2 - factor * piece.yy,
        )
    return _joined(found)


def _pieces(pairs: Pairs, n_trimmed: int) -> Iterator[_Pieces]:
    """Yield the pieces from left to right, some at a time."""
    first, second = np.triu_indices(pairs.n_pairs, k=1)
    step = pairs.cost[second] - pairs.cost[first]
    apart = step != 0
    crossings = np.unique((pairs.response[second] - pairs.response[first])[apart] / step[apart])
    ends = np.concatenate([[-np.inf], crossings, [np.inf]])
    size = max(_CELLS // pairs.n_pairs, 1)
    for k in range(0, len(ends) - 1, size):
        yield _sums(pairs, n_trimmed, ends[k : k + size + 1][:-1], ends[k + 1 : k + 1 + size])


def _sums(pairs: Pairs, n_trimmed: int, start: FloatArray, end: FloatArray) -> _Pieces:
    kept = slice(n_trimmed, pairs.n_pairs - n_trimmed)
    left = pairs.response - _inside(start, end)[:, None] * pairs.cost
    order = np.argsort(left, axis=1, kind="stable")
    pulled = order.copy()
    pulled[:, :n_trimmed] = order[:, [n_trimmed]]
    pulled[:, pairs.n_pairs - n_trimmed :] = order[:, [pairs.n_pairs - n_trimmed - 1]]
    y, x = pairs.response[pulled], pairs.cost[pulled]
    y_off, x_off = y - y.mean(axis=1, keepdims=True), x - x.mean(axis=1, keepdims=True)
    return _Pieces(
        start=start,
        end=end,
        y=y[:, kept].sum(axis=1),
        x=x[:, kept].sum(axis=1),
        yy=(y_off**2).sum(axis=1),
        xy=(x_off * y_off).sum(axis=1),
        xx=(x_off**2).sum(axis=1),
    )


def _inside(start: FloatArray, end: FloatArray) -> FloatArray:
    """Return a point within every piece; beyond the last crossing, one that is far from it by its own size."""
    low, high = np.isfinite(start), np.isfinite(end)
    point = np.zeros(len(start))
    both = low & high
    point[both] = start[both] / 2 + end[both] / 2
    point[low & ~high] = start[low & ~high] + 1 + np.abs(start[low & ~high])
    point[~low & high] = end[~low & high] - 1 - np.abs(end[~low & high])
    return point


def _within(piece: _Pieces, a: FloatArray, half: FloatArray, c: FloatArray) -> list[tuple[float, float]]:
    """Return where a t^2 + 2 half t + c is at most zero within each piece."""
    found: list[tuple[float, float]] = []
    for start, end, *coefficients in zip(piece.start, piece.end, a, half, c, strict=True):
        for low, high in _not_positive(*map(float, coefficients)):
            inside = max(low, float(start)), min(high, float(end))
            if inside[0] <= inside[1]:
                found.append(inside)
    return found


def _not_positive(a: float, half: float, c: float) -> tuple[tuple[float, float], ...]:
    if a == 0 and half == 0:
        return ((-math.inf, math.inf),) if c <= 0 else ()
    if a == 0:
        cut = -c / (2 * half)
        return ((-math.inf, cut),) if half > 0 else ((cut, math.inf),)
    discriminant = half**2 - a * c
    if discriminant < 0:
        return () if a > 0 else ((-math.inf, math.inf),)
    far = -(half + math.copysign(math.sqrt(discriminant), half))
    low, high = sorted((far / a, c / far if far else 0.0))
    return ((low, high),) if a > 0 else ((-math.inf, low), (high, math.inf))


def _joined(segments: list[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Join segments that touch at the ends of their pieces."""
    joined: list[tuple[float, float]] = []
    for low, high in sorted(segments):
        if joined and low <= joined[-1][1] + _SLACK * max(abs(low), abs(joined[-1][1])):
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def _asymmetry(pairs: Pairs, ratio: float, n_trimmed: int) -> float:
    left = np.sort(pairs.residuals(ratio))[n_trimmed : pairs.n_pairs - n_trimmed]
    return float(np.abs(left + left[::-1]).mean())


def _std_error(pairs: Pairs, ratio: float, n_trimmed: int) -> float:
    left = pairs.residuals(ratio)
    kept = pairs.kept(ratio, n_trimmed)
    pulled = np.clip(left, left[kept].min(), left[kept].max())
    return float(math.sqrt(float((pulled**2).sum())) / abs(float(pairs.cost[kept].sum())))
