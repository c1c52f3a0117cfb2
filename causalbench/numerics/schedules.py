r"""Balanced on / off schedules over blocks of time, and the weights with which a difference of means reads them."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

_COUNTABLE = 1e15
_NOTHING = 1e-12


def n_balanced(n_blocks: int) -> int:
    """Return how many rows of that many blocks are on for half of them, give or take half a block where it is odd.

    Examples
    --------
    >>> n_balanced(4), n_balanced(5)
    (6, 20)
    """
    return math.comb(n_blocks, n_blocks // 2) * (1 + n_blocks % 2)


def balanced_rows(n_blocks: int) -> BoolArray:
    """Return all of them, in lexicographic order, shape (n_rows, n_blocks).

    Examples
    --------
    >>> balanced_rows(2).tolist()
    [[True, False], [False, True]]
    """
    sizes = sorted({n_blocks // 2, (n_blocks + 1) // 2})
    chosen = [group for size in sizes for group in itertools.combinations(range(n_blocks), size)]
    rows = np.zeros((len(chosen), n_blocks), dtype=bool)
    for row, group in zip(rows, chosen, strict=True):
        row[list(group)] = True
    return rows


def draw_balanced(n_rows: int, n_blocks: int, rng: Generator) -> BoolArray:
    """Draw balanced rows independently and uniformly, shape (n_rows, n_blocks)."""
    order = np.argsort(rng.random((n_rows, n_blocks)), axis=1)
    half = n_blocks // 2 + (rng.integers(2, size=(n_rows, 1)) if n_blocks % 2 else 0)
    rows: BoolArray = order < half
    return rows


def n_schedules(n_leaders: int, n_blocks: int) -> float:
    """Return how many schedules that many independent balanced rows make; infinite above 1e15."""
    logarithm = n_leaders * math.log(n_balanced(n_blocks))
    return math.inf if logarithm > math.log(_COUNTABLE) else float(n_balanced(n_blocks) ** n_leaders)


def contrast_weights(schedules: BoolArray, *, by_period: bool) -> FloatArray:
    r"""Return the weights with which each schedule reads block means, shape (n_schedules, n_units, n_blocks).

    With market effects (and, where ``by_period``, block effects) taken out of the schedule,
    :math:`\tilde D`, the estimate is :math:`\sum \tilde D Y / \sum \tilde D^2`: least squares with those effects, and the
    plain difference of means of on and off where every market is on for half of its blocks and every block has half of the
    markets on. A schedule that these effects explain entirely gets zeros.

    Parameters
    ----------
    schedules
        Shape (n_schedules, n_units, n_blocks).
    by_period
        Whether block effects are taken out as well; with one market there would be nothing left.

    Examples
    --------
    >>> import numpy as np
    >>> contrast_weights(np.array([[[True, False], [False, True]]]), by_period=True).tolist()
    [[[0.5, -0.5], [-0.5, 0.5]]]
    """
    residual = without_effects(schedules.astype(float), by_period=by_period)
    return _scaled(residual)


def carry_over_weights(schedules: BoolArray, *, by_period: bool) -> FloatArray:
    r"""Return weights that read the effect of the block before, given the present one.

    They are those of least squares on the previous block's treatment, with the present one and the same effects, over
    all blocks but the first; shape (n_schedules, n_units, n_blocks), zero in the first block, and everywhere where previous and
    present can't be told apart.
    """
    present = without_effects(schedules[:, :, 1:].astype(float), by_period=by_period)
    previous = without_effects(schedules[:, :, :-1].astype(float), by_period=by_period)
    squares = (present**2).sum(axis=(1, 2), keepdims=True)
    slope = (present * previous).sum(axis=(1, 2), keepdims=True) / np.where(squares > _NOTHING, squares, 1.0)
    weights = _scaled(previous - slope * present)
    return np.concatenate([np.zeros((*weights.shape[:2], 1)), weights], axis=2)


def without_effects(values: FloatArray, *, by_period: bool) -> FloatArray:
    """Take market means (and period means) out of the last two axes."""
    residual: FloatArray = values - values.mean(axis=-1, keepdims=True)
    if by_period:
        residual = residual - residual.mean(axis=-2, keepdims=True)
    return residual


def _scaled(residual: FloatArray) -> FloatArray:
    squares = (residual**2).sum(axis=(1, 2), keepdims=True)
    found: FloatArray = np.where(squares > _NOTHING, residual / np.where(squares > _NOTHING, squares, 1.0), 0.0)
    return found


def exposure_map(n_blocks: int, block: int, washout: int, carry_over: float) -> FloatArray:
    r"""Return the matrix from blocks switched on to mean exposure in the periods of each block after the washout.

    .. math:: x_t = \rho x_{t-1} + (1 - \rho) D_t, \qquad x_0 = 0:

    always on ends at one, and what is left of an effect shrinks by :math:`\rho` per period after switching off, as it grows
    after switching on. Shape (n_blocks, n_blocks), lower triangular; the identity without carry-over.

    Examples
    --------
    >>> exposure_map(2, 2, 1, 0.5).tolist()
    [[0.75, 0.0], [0.1875, 0.75]]
    """
    n_periods = n_blocks * block
    lag = np.arange(n_periods)[:, None] - np.arange(n_periods)
    kernel = np.where(lag >= 0, (1 - carry_over) * float(carry_over) ** np.maximum(lag, 0), 0.0)
    by_block = kernel.reshape(n_periods, n_blocks, block).sum(axis=2)
    found: FloatArray = by_block.reshape(n_blocks, block, n_blocks)[:, washout:].mean(axis=1)
    return found


def most_extreme(lower: FloatArray, upper: FloatArray, low: float, high: float) -> int:
    """Return the largest number of closed intervals that overlap anywhere between two values.

    Examples
    --------
    >>> import numpy as np
    >>> most_extreme(np.array([0.0, 2.0, 3.0]), np.array([2.5, 5.0, 4.0]), 2.2, 2.4)
    2
    """
    starts, ends = np.sort(lower), np.sort(upper)
    inside = starts[(starts > low) & (starts < high)]
    places = np.concatenate([[low, high], inside])
    counts = np.searchsorted(starts, places, side="right") - np.searchsorted(ends, places, side="left")
    return int(counts.max())
