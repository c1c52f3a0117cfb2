r"""Honest power of a split: what effect the planned analysis would find, on windows that the search didn't see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from causalbench.data.calendar import Period
from causalbench.data.panel import Panel
from causalbench.errors import RefusalError
from causalbench.geo.required_effects import Required, on_circle, required_by_draws, required_effect, window_panel
from causalbench.geo.split import CONTROL, Split
from causalbench.numerics.overlapping_windows import Predictive, n_effective, predictive, window_contrasts
from causalbench.protocols import Estimator
from causalbench.values import FloatArray, IntArray, frozen_array

_ACTUALS = 60
_MOST_MEMORY = 0.9
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Power:
    """Power of one cell's planned analysis at one duration.

    Attributes
    ----------
    cell, duration
        Number of the treated cell, from 1 up, and periods of the experiment.
    level, target, sign
        Confidence level of the test, wanted power, 1 for a gain and -1 for a loss.
    required
        Relative effect that each placebo window needs to be found, in the order of ``starts``; of a randomized design one
        for every window and draw taken as the actual one. Negative where effects of the other direction are found too,
        infinite where none is.
    starts, windows
        Index and label of the first period of each entry of ``required``.
    mde
        Smallest relative effect that is found with the target's power, a size without a sign; None where there is none.
    mde_absolute
        The same per market and period, in units of the outcome.
    claimed_power
        Power claimed at ``mde``; None where there is none.
    effects, power
        Share of windows that find an effect, as steps: from ``effects[k]`` on it is ``power[k]``. No grid: every window's
        required effect is one step.
    law
        Law of the required effect of one more window; None for a randomized design, where draws are counted.
    n_windows, n_effective
        Number of windows, and of independent windows that would know as much of the mean.
    size, size_mc_error
        A/A gate: share of windows that find an effect where there is none, and the Monte Carlo error of that share at the
        nominal size and ``n_effective`` windows.
    n_refused
        Windows on which the planned inference refuses to answer; they find nothing.
    mean_outcome, total_outcome
        Outcome of the cell's treated markets per market and period, and in total per experiment.
    """

    cell: int
    duration: int
    level: float
    target: float
    sign: int
    required: FloatArray
    starts: IntArray
    windows: tuple[Period, ...]
    law: Predictive | None
    n_windows: int
    n_effective: float
    size: float
    size_mc_error: float
    n_refused: int
    mean_outcome: float
    total_outcome: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "required", frozen_array(self.required))
        object.__setattr__(self, "starts", frozen_array(self.starts, dtype=np.int64))

    @property
    def mde(self) -> float | None:
        """Smallest relative effect that is found with the target's power."""
        return self.effect_for(self.target)

    @property
    def mde_absolute(self) -> float | None:
        """The smallest effect per market and period, in units of the outcome."""
        return None if self.mde is None else self.mde * abs(self.mean_outcome)

    @property
    def claimed_power(self) -> float | None:
        """Power claimed at the smallest effect."""
        return None if self.mde is None else self.at(self.mde)

    @property
    def effects(self) -> FloatArray:
        """Where the share of windows that find an effect steps up."""
        found: FloatArray = np.sort(np.maximum(self.required[np.isfinite(self.required)], 0.0))
        return found

    @property
    def power(self) -> FloatArray:
        """Share of windows that find each of ``effects``."""
        shares: FloatArray = np.arange(1, len(self.effects) + 1) / len(self.required)
        return shares

    @property
    def reachable(self) -> float:
        """Share of windows that find some effect, however large."""
        return float(np.isfinite(self.required).mean())

    def at(self, effect: float) -> float:
        """Return the power claimed at a relative effect, given as a size."""
        if self.law is None:
            return float((self.required <= effect + 1e-12).sum()) / (len(self.required) + 1)
        return self.reachable * self.law.probability(effect) if math.isfinite(self.law.spread) else 0.0

    def effect_for(self, power: float) -> float | None:
        """Return the smallest relative effect that is found with this power; None where none is."""
        if self.law is None:
            place = math.ceil(power * (len(self.required) + 1) - 1e-9)
            return float(self.effects[place - 1]) if place <= len(self.effects) else None
        if power >= self.reachable or not math.isfinite(self.law.spread):
            return None
        return max(self.law.quantile(power / self.reachable), 0.0)


def power_of(
    split: Split,
    history: Panel,
    *,
    estimator: Estimator[Panel],
    inference: str = "conformal",
    durations: Sequence[int],
    level: float = 0.9,
    target: float = 0.8,
    n_windows: int = 10,
    first_window: int,
    sign: int = 1,
    rng: np.random.Generator,
    draws: IntArray | None = None,
) -> tuple[Power, ...]:
    r"""Measure the power of a split with the planned analysis, for every cell and duration.

    In each placebo window :math:`w` of the history, where nothing happened, the outcome of treated cells is raised by
    :math:`\delta` of itself, and the planned analysis is run as if the window's end were the experiment's; periods after it
    aren't used, except by conformal inference, to which time is a circle.
    The **required effect** :math:`r_w` is the smallest :math:`\delta` from which on it rejects. An experiment of the future
    finds :math:`\delta` when its own required effect is at most :math:`\delta`, so that

    .. math:: \text{power}(\delta) = P(r_{\text{new}} \le \delta).

    ``first_window`` is what keeps this honest: the search may see periods before it only. The best of many sets has, on the
    windows by which it was chosen, errors that happened to be small; on others they are as they are.

    Without ``draws`` the test is along time, and a few windows that overlap are all there is. Their required effects are
    about normal (a critical value less the window's error), so the next one follows a t law about their mean whose degrees
    of freedom and spread count overlap and autocorrelation; see :mod:`causalbench.numerics.overlapping_windows`.
    How close delivered power comes to claimed power is measured in ``benchmarks/delivered_power.py``.

    With ``draws`` the test is the randomization test over them, :math:`p(\delta)` the share of draws whose estimate is as
    extreme as the actual one's. Assignments are part of the experiment, so required effects of many draws taken as the
    actual one are pooled over windows, each exact; of :math:`n`, the :math:`k`-th smallest is delivered with power
    :math:`k / (n + 1)`.

    Parameters
    ----------
    split
        The markets of every cell.
    history
        Outcomes before the experiment; nobody is treated.
    estimator, inference
        The planned analysis. ``conformal`` is tested at no effect directly; any other inference is asked as at the
        readout, some twenty times per window. With ``draws`` the inference isn't used.
    durations
        Candidate periods of the experiment.
    level, target
        Confidence level of the test and wanted power.
    n_windows
        Placebo windows, spread evenly from ``first_window`` to the end of the history; fewer where there is no room.
    first_window
        Index of the first period that the search didn't see.
    sign
        1 where a gain is expected, -1 for a loss.
    rng
        Draws whatever the inference draws, and which draws are taken as the actual one.
    draws
        Cell of every market in admissible assignments of the same design, shape (n_draws, n_units).

    Returns
    -------
    tuple[Power, ...]
        By cell, then by duration.

    Raises
    ------
    RefusalError
        Where no window fits between ``first_window`` and the end, or the cell has no control.

    Notes
    -----
    Don't choose among many splits by this power: the best of them is again too good. Keep windows for one or a few
    finalists. Windows have less history than the experiment will have, and so need a little more: for a claim of .80,
    2,000 simulated experiments delivered .825 (Monte Carlo error .009). Where markets drift apart for good (random walks),
    power falls short of the claim, .65 for .80 in 150 experiments: then the history isn't what the experiment will be.

    Examples
    --------
    >>> from causalbench.data.simulate import factor_panel
    >>> from causalbench.estimators import SyntheticControl
    >>> drawn = factor_panel(n_units=12, n_periods=80, n_treated=2, n_post=1, effect=0.0, rho=0.0, seed=1)
    >>> split = Split(cells=(np.arange(12) < 2).astype(int))
    >>> (found,) = power_of(split, drawn, estimator=SyntheticControl(fixed_effects="unit"), durations=[8], first_window=50,
    ...                     rng=np.random.default_rng(0))
    >>> found.n_windows, round(found.claimed_power, 6), 0.02 < found.mde < 0.2
    (10, 0.8, True)
    """
    treated = split.cells > CONTROL
    if not treated.any() or not split.control.any():
        raise RefusalError("power needs a treated and a control market")
    found = []
    for cell in range(1, split.n_cells + 1):
        for duration in durations:
            starts = window_starts(len(history.periods), duration, n_windows=n_windows, first_window=first_window)
            found.append(
                _one_power(
                    split,
                    history,
                    cell=cell,
                    starts=starts,
                    duration=duration,
                    estimator=estimator,
                    inference=inference,
                    level=level,
                    target=target,
                    sign=sign,
                    rng=rng,
                    draws=draws,
                )
            )
    return tuple(found)


def window_starts(n_periods: int, duration: int, *, n_windows: int, first_window: int) -> IntArray:
    """Return the first periods of placebo windows, spread evenly over what the search didn't see.

    Examples
    --------
    >>> window_starts(120, 15, n_windows=4, first_window=75).tolist()
    [75, 85, 95, 105]
    """
    last = n_periods - duration
    if first_window > last or first_window < 2:
        raise RefusalError(
            f"no window of {duration} periods fits between period {first_window} and the end of {n_periods} periods, with at "
            "least two periods before it",
            remedy="shorten durations, leave the search less of the history, or add history",
        )
    starts: IntArray = np.unique(np.linspace(first_window, last, n_windows).round().astype(np.int64))
    return starts


def _one_power(
    split: Split,
    history: Panel,
    *,
    cell: int,
    starts: IntArray,
    duration: int,
    estimator: Estimator[Panel],
    inference: str,
    level: float,
    target: float,
    sign: int,
    rng: np.random.Generator,
    draws: IntArray | None,
) -> Power:
    when = np.arange(len(history.periods))
    required: list[Required] = []
    at: list[int] = []
    for start in starts.tolist():
        if draws is None:
            panel = window_panel(
                split, history, cell=cell, start=start, duration=duration, estimator=estimator, inference=inference
            )
            answers: tuple[Required, ...] = (
                required_effect(panel, estimator=estimator, inference=inference, level=level, sign=sign, rng=rng),
            )
        else:
            answers = required_by_draws(
                history.only(periods=when < start + duration),
                np.asarray(draws),
                rng.choice(len(draws), min(-(-_ACTUALS // len(starts)), len(draws)), replace=False),
                cell=cell,
                estimator=estimator,
                level=level,
                sign=sign,
                start=start,
            )
        required += answers
        at += [start] * len(answers)
    effects = np.array([one.effect for one in required])
    circle = on_circle(estimator, inference)
    contrasts = window_contrasts(starts, duration, len(when), compared="all" if circle else "earlier")
    memory = _memory(required)
    n_independent = n_effective(contrasts, memory) if draws is None else float(len(required))
    mine = split.cells == cell
    windows = [history.outcome[mine, start : start + duration] for start in starts.tolist()]
    return Power(
        cell=cell,
        duration=duration,
        level=level,
        target=target,
        sign=sign,
        required=effects,
        starts=np.array(at),
        windows=tuple(history.periods[start] for start in at),
        law=_law(effects, contrasts, memory) if draws is None else None,
        n_windows=len(starts),
        n_effective=n_independent,
        size=float(np.mean([one.rejects_nothing for one in required])),
        size_mc_error=math.sqrt(level * (1 - level) / n_independent),
        n_refused=sum(one.refused for one in required),
        mean_outcome=float(np.nanmean(windows)),
        total_outcome=float(np.nansum(windows)) / len(windows),
    )


def _law(effects: FloatArray, contrasts: FloatArray, memory: float) -> Predictive:
    """Return the law of the experiment's required effect, from the windows where some effect is found."""
    able = np.isfinite(effects)
    if able.sum() < _FEWEST:
        return Predictive(centre=np.inf, spread=np.inf, df=1.0)
    return predictive(effects[able], contrasts[np.append(able, True)], memory)


def _memory(required: Sequence[Required]) -> float:
    """Return the typical autocorrelation of the gap before a window."""
    found = [one.persistence for one in required if not one.refused]
    return float(np.clip(np.median(found), 0.0, _MOST_MEMORY)) if found else 0.0
