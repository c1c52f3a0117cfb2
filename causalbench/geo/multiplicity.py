"""Several questions of one experiment: tests and sets that hold for all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from causalbench.geo.randomization import Drawn, from_ranks
from causalbench.numerics.inversion import compared, joint_rank_set
from causalbench.values import FloatArray, Uncertainty, frozen_array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contrast:
    r"""A weighted sum of the cells' effects.

    Attributes
    ----------
    name
        What it is called.
    weights
        Of the cells' effects, shape (n_cells,).
    move
        How the cells' effects change when the sum grows by one and nothing else that is asked does, shape (n_cells,).
    """

    name: str
    weights: FloatArray
    move: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", frozen_array(self.weights))
        object.__setattr__(self, "move", frozen_array(self.move, shape=self.weights.shape, name="move"))
        if abs(float(self.weights @ self.move) - 1) > 1e-9:
            raise ValueError("move must change the contrast by one")


def each_cell(names: Sequence[str]) -> tuple[Contrast, ...]:
    """Return the effect of every cell against the shared controls.

    Examples
    --------
    >>> [contrast.weights.tolist() for contrast in each_cell(("search", "video"))]
    [[1.0, 0.0], [0.0, 1.0]]
    """
    unit = np.eye(len(names))
    return tuple(Contrast(name=name, weights=row, move=row) for name, row in zip(names, unit, strict=True))


def each_pair(names: Sequence[str]) -> tuple[Contrast, ...]:
    """Return the difference of every two cells' effects; their sum is what stays as it is.

    Examples
    --------
    >>> [(contrast.name, contrast.weights.tolist()) for contrast in each_pair(("search", "video"))]
    [('search - video', [1.0, -1.0])]
    """
    unit = np.eye(len(names))
    return tuple(
        Contrast(name=f"{names[j]} - {names[k]}", weights=unit[j] - unit[k], move=(unit[j] - unit[k]) / 2)
        for j in range(len(names))
        for k in range(j + 1, len(names))
    )


def max_t(drawn: Drawn, contrasts: Sequence[Contrast], *, level: float) -> tuple[Uncertainty, ...]:
    r"""Test every value of every contrast against the largest of all contrasts' statistics in each draw.

    .. math:: p_q(\ell) = \frac{1}{|\mathcal D|} \#\Bigl\{D' : \max_r \frac{|A'_{qr} - B'_{qr}\ell|}{s_r}
        \ge \frac{|L_q\hat\tau - \ell|}{s_q}\Bigr\}

    (single-step max-T; Westfall, Young 1993, section 2.3), :math:`s_r` the spread of contrast :math:`r` over the draws once all
    effects are taken off at their estimates, :math:`A'_{qr} - B'_{qr}\ell` contrast :math:`r` of a draw when contrast :math:`q`
    is :math:`\ell` (:meth:`causalbench.geo.randomization.Drawn.along`). p-value and set of a contrast come from one
    inversion, so they agree, and all sets hold at once with the confidence level. Holm's stepwise p-values would reject a
    little more, but no sets go with them.

    Returns
    -------
    tuple
        One per contrast, with adjusted p-value and simultaneous set.
    """
    spread = _spreads(drawn, contrasts)
    found = []
    for q, contrast in enumerate(contrasts):
        value = float(contrast.weights @ drawn.estimates)
        rest = drawn.effects - drawn.slopes @ (drawn.estimates - contrast.move * value)
        moves = drawn.slopes @ contrast.move
        order = [q, *(r for r in range(len(contrasts)) if r != q)]
        weights = np.stack([contrasts[r].weights / spread[r] for r in order], axis=1)
        effects, slopes = drawn.inflated(rest @ weights), drawn.inflated(moves @ weights)
        a, b, c, scale = compared(effects, slopes)
        far = float((np.abs(slopes).max(axis=1) >= abs(slopes[0, 0]) * (1 - 1e-10)).mean())
        found.append(from_ranks(joint_rank_set(a, b, c, scale=scale), drawn, level=level, far=far))
    return tuple(found)


def _spreads(drawn: Drawn, contrasts: Sequence[Contrast]) -> FloatArray:
    noise = drawn.effects - drawn.slopes @ drawn.estimates
    spread: FloatArray = np.sqrt(((noise @ np.stack([c.weights for c in contrasts], axis=1)) ** 2).mean(axis=0))
    return np.where(spread > 1e-12 * max(float(spread.max()), 1e-300), spread, 1.0)


def bonferroni(p_value: float, n_tests: int) -> float:
    """Return the p-value of one of several tests, such that it agrees with the set at level 1 - (1 - level) / n.

    Examples
    --------
    >>> bonferroni(0.02, 3), bonferroni(0.6, 3)
    (0.06, 1.0)
    """
    return min(1.0, p_value * n_tests)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Holm's adjusted p-values (1979), in the order given.

    They go with no confidence sets; :func:`max_t` and :func:`bonferroni` do.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return tuple(float(p) for p in adjusted)
