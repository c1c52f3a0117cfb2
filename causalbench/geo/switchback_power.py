r"""What a switchback could detect, by block length and washout, on the user's own history and under carry-over.

The test is played on windows of the history. An effect :math:`\delta` enters by the exposure

.. math:: x_t = \rho x_{t-1} + (1 - \rho) D_t, \qquad Y_t(\delta) = Y_t + \delta x_t,

which carry-over smears over block ends. With :math:`w_d` the weights of schedule d
(:func:`~causalbench.numerics.schedules.contrast_weights`), its statistic when d' is the actual schedule is
:math:`w_d Y + \delta\, w_d x_{d'}`: linear in :math:`\delta`. So the effects that the test of d' doesn't reject follow exactly,
and power at any effect is the share of schedules and windows whose largest such effect lies below it: order statistics, no
grid of effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from causalbench.artifacts import plain
from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.geo.switchback import (
    SwitchbackDesign,
    is_relative,
    paired,
    pairs_of,
    relative_outcome,
    require_complete,
    smallest_p,
)
from causalbench.numerics.inversion import needed_draws, rank_set
from causalbench.numerics.schedules import contrast_weights, exposure_map
from causalbench.values import FloatArray, IntArray, frozen_array, rejects

MOST_BIAS = 0.1
"""A plan that loses or adds more than this share of the effect to carry-over isn't chosen where another loses less."""

_POOL = 1_999
_ACTUAL = 60
_SLACK = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SwitchbackPower:
    """One candidate plan.

    Attributes
    ----------
    block, washout, n_blocks
        The plan, in periods.
    n_admissible, smallest_p
        How many schedules it admits, and the smallest p-value that their test can give.
    bias
        Share of the effect that the estimate adds (negative: loses) through carry-over, on average over schedules.
    spread
        Standard deviation of the estimate without an effect, over schedules and windows.
    size
        Share of tests without an effect that reject.
    required
        Smallest effect from which on each played test rejects, ascending; infinite where it never does.
    n_windows
        Windows of the history that were played.
    relative
        Whether effects are shares of each market's level; else in units of the outcome.
    """

    block: int
    washout: int
    n_blocks: int
    n_admissible: float
    smallest_p: float
    bias: float
    spread: float
    size: float
    required: FloatArray
    n_windows: int
    relative: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "required", frozen_array(np.sort(self.required)))

    def at(self, effect: float) -> float:
        """Return the power at a positive effect."""
        return float(np.searchsorted(self.required, effect, side="left")) / len(self.required)

    def mde(self, power: float) -> float | None:
        """Return the smallest effect that is detected with this power; None where none is."""
        place = int(np.ceil(power * len(self.required) - 1e-9)) - 1
        effect = float(self.required[place])
        return max(effect, 0.0) if np.isfinite(effect) else None

    def to_dict(self, *, power: float, effect: float | None) -> dict[str, Any]:
        """Return a row for tables, and the power curve at twenty steps."""
        steps = self.required[np.isfinite(self.required)]
        curve = [] if not len(steps) else np.linspace(0, max(1.2 * float(steps[-1]), 0.0), 21).tolist()
        row: dict[str, Any] = plain(
            {
                "block": self.block,
                "washout": self.washout,
                "n_blocks": self.n_blocks,
                "n_admissible": self.n_admissible,
                "smallest_p": self.smallest_p,
                "bias": self.bias,
                "spread": self.spread,
                "size": self.size,
                "power": None if effect is None else self.at(effect),
                "mde": self.mde(power),
                "n_windows": self.n_windows,
                "relative": self.relative,
                "curve": [{"effect": step, "power": self.at(step)} for step in curve],
            }
        )
        return row


def switchback_power(
    outcome: FloatArray,
    design: SwitchbackDesign,
    *,
    level: float,
    carry_over: float,
    n_windows: int,
    relative: bool,
    sign: int = 1,
    rng: Generator,
) -> SwitchbackPower:
    """Play one plan on windows of the history.

    Parameters
    ----------
    outcome
        Outcomes before the test, shape (n_units, n_history), complete; where ``relative``, shares of each market's level.
    design
        The plan.
    level
        Confidence level of the test.
    carry_over
        Share of an effect that is left one period later, at least 0 and below 1.
    n_windows
        Windows of the test's length, spread evenly over the history; they overlap where it is short.
    relative
        Whether the outcome has been divided by each market's level.
    sign
        1 where a gain is expected, -1 for a loss.
    rng
        Source of the schedules.

    Raises
    ------
    RefusalError
        Where the history is shorter than the test.
    """
    n_periods = outcome.shape[1]
    if n_periods < design.n_periods:
        raise RefusalError(
            f"a test of {design.n_periods} periods can't be played on a history of {n_periods}",
            remedy="give a longer history, or plan fewer periods",
        )
    starts = np.unique(np.linspace(0, n_periods - design.n_periods, n_windows).round().astype(int))
    pool = design.pool(None, n_draws=_POOL, rng=rng)
    actual = rng.permutation(len(pool))[:_ACTUAL]
    flat = contrast_weights(pool, by_period=design.by_period).reshape(len(pool), -1)
    reach = exposure_map(design.n_blocks, design.block, design.washout, carry_over)
    slopes = flat @ (pool[actual].astype(float) @ reach.T).reshape(len(actual), -1).T
    blocks = np.stack([design.block_means(sign * _unseen(outcome, design, start)) for start in starts.tolist()])
    noise = flat @ blocks.reshape(len(starts), -1).T
    needed = needed_draws(level, len(pool))
    required = np.array(
        [
            _required(noise[:, w], slopes[:, i], actual[i], needed)
            for w in range(len(starts))
            for i in range(len(actual))
        ]
    )
    return SwitchbackPower(
        block=design.block,
        washout=design.washout,
        n_blocks=design.n_blocks,
        n_admissible=design.n_admissible,
        smallest_p=smallest_p(design),
        bias=float(slopes[actual, np.arange(len(actual))].mean() - 1),
        spread=float(noise.std()),
        size=float(np.mean([_size(noise[:, w], level) for w in range(len(starts))])),
        required=required,
        n_windows=len(starts),
        relative=relative,
    )


def _unseen(outcome: FloatArray, design: SwitchbackDesign, start: int) -> FloatArray:
    """Return a window with its markets in pairs that other periods have chosen.

    Pairs chosen on the window itself fit its noise, and would promise power that the test, which they haven't seen, doesn't have.
    Markets are placed so that a pair of other periods takes the place of a pair of the design.
    """
    window = outcome[:, start : start + design.n_periods]
    others = np.delete(outcome, np.s_[start : start + design.n_periods], axis=1)
    if others.shape[1] < 2:
        return window
    placed = np.empty_like(window)
    placed[_by_pair(design.pairs)] = window[_by_pair(pairs_of(others))]
    return placed


def _by_pair(pairs: IntArray) -> IntArray:
    """Return an order of markets in which pairs stand together, an odd one out last."""
    order: IntArray = np.lexsort((pairs, -np.bincount(pairs)[pairs]))
    return order


def _size(noise: FloatArray, level: float) -> float:
    """Return the share of schedules whose test rejects no effect."""
    sizes = np.abs(noise)
    n_extreme = len(sizes) - np.searchsorted(np.sort(sizes), sizes - _SLACK * sizes.max(), side="left")
    return float(np.mean([rejects(float(count) / len(sizes), level) for count in n_extreme]))


def _required(noise: FloatArray, slopes: FloatArray, actual: int, needed: int) -> float:
    """Return the largest effect that the test of one actual schedule doesn't reject."""
    own, gain = noise[actual], slopes[actual]
    scale = float(np.abs(noise).max())
    slack = (_SLACK * scale) ** 2 + 2 * _SLACK * scale * np.abs(noise)
    found = rank_set(slopes**2 - gain**2, 2 * (noise * slopes - own * gain), noise**2 - own**2 + slack, scale=scale)
    lower, upper = np.sort(found.lower), np.sort(found.upper)
    depth = np.searchsorted(lower, upper, side="right") - np.searchsorted(upper, upper, side="left")
    deep = np.flatnonzero(depth >= needed)
    return float(upper[deep[-1]]) if len(deep) else -np.inf


def candidates(
    history: Panel,
    *,
    blocks: Sequence[int],
    n_periods: int,
    washout: int,
    carry_over: float,
    level: float,
    n_windows: int,
    sign: int = 1,
    rng: Generator,
) -> tuple[SwitchbackPower, ...]:
    """Play every block length, each without a washout, with the given one, and with one that lets 90% of an effect pass.

    Raises
    ------
    RefusalError
        Where no block length fits, or none admits enough schedules for the level.
    """
    require_complete(history)
    pairs, relative = paired(history), is_relative(history)
    outcome = relative_outcome(history.outcome, history)
    rows, reasons = [], []
    for block in sorted(set(blocks)):
        for wait in sorted({0, washout, _enough(carry_over)}):
            if wait >= block:
                reasons.append(f"a washout of {wait} leaves nothing of blocks of {block}")
                continue
            if n_periods // block < 2:
                reasons.append(f"{n_periods} periods hold fewer than two blocks of {block}")
                continue
            design = SwitchbackDesign(pairs=pairs, block=block, n_blocks=n_periods // block, washout=wait)
            if not rejects(smallest_p(design), level):
                reasons.append(f"{design.n_blocks} blocks of {block} admit {design.n_admissible:.0f} schedules")
                continue
            rows.append(
                switchback_power(
                    outcome,
                    design,
                    level=level,
                    carry_over=carry_over,
                    n_windows=n_windows,
                    relative=relative,
                    sign=sign,
                    rng=rng,
                )
            )
    if not rows:
        raise RefusalError(
            f"no block length can be tested at level {level:g}: {'; '.join(dict.fromkeys(reasons))}",
            remedy="plan more periods, shorter blocks or a shorter washout",
        )
    return tuple(rows)


def _enough(carry_over: float) -> int:
    """Return after how many periods at most a tenth of an effect is left."""
    return 0 if carry_over <= 0 else int(np.ceil(np.log(0.1) / np.log(carry_over) - 1e-9))


def choose(
    rows: Sequence[SwitchbackPower], *, washout: int, power: float, effect: float | None
) -> tuple[SwitchbackPower, str]:
    """Choose a plan, and say why.

    Among plans with at least the wanted washout and a bias of at most a tenth of the effect (where none has that: the
    smallest bias), the one with the highest power at the smallest worthwhile effect wins, without one that with the smallest
    detectable effect; ties go to the longer block, which switches less.
    """
    waiting = [row for row in rows if row.washout >= washout] or list(rows)
    honest = [row for row in waiting if abs(row.bias) <= MOST_BIAS]
    least = min(abs(row.bias) for row in waiting)
    kept = honest or [row for row in waiting if abs(row.bias) == least]

    def order(row: SwitchbackPower) -> tuple[float, float, int, int]:
        detectable = row.mde(power)
        mde = np.inf if detectable is None else detectable
        reached = 0.0 if effect is None else -round(row.at(effect), 2)
        return reached, mde, -row.block, row.washout

    best = min(kept, key=order)
    detectable = best.mde(power)
    bias = f"carry-over changes the estimate by {100 * best.bias:+.1f}%"
    if not honest:
        bias += f", and no plan keeps that within {100 * MOST_BIAS:.0f}%: read the effect with it"
    found = "no effect is detected" if detectable is None else f"the smallest detectable effect is {detectable:.3g}"
    at = "" if effect is None else f", power at {effect:g} is {best.at(effect):.2f}"
    plural = "s" if best.block > 1 else ""
    reason = (
        f"Blocks of {best.block} period{plural} with a washout of {best.washout}, the best of {len(kept)} plans "
        f"compared: {found} at power {power:g}{at}; {bias}."
    )
    return best, reason
