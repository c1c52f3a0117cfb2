r"""Many sets of markets in many windows of the history, scored with one fit per set and window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.numerics.inversion import needed_draws
from causalbench.numerics.simplex import GAP_LIMIT, solve_simplex
from causalbench.numerics.window_scan import lift_p_values, required_lifts
from causalbench.values import BoolArray, FloatArray, IntArray

_BATCH = 512

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """A stretch of the history that stands for an experiment: ``duration`` periods from index ``start`` on."""

    start: int
    duration: int

    @property
    def end(self) -> int:
        """Index of the first period after the window."""
        return self.start + self.duration


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """Scores of every set of markets in every window.

    Attributes
    ----------
    windows
        The windows, in the order of the columns.
    scaled_l2
        Norm of the gap before the window over that with equal weights of all donors, shape (n_sets, n_windows).
    rel_error
        Summed gap in the window, where nothing happened, over the counterfactual; shape (n_sets, n_windows).
    required
        Smallest relative lift from which on the test rejects, infinite where none does; shape (n_sets, n_windows).
    p_values
        p of each lift, shape (n_sets, n_windows, n_lifts).
    """

    windows: tuple[Window, ...]
    scaled_l2: FloatArray
    rel_error: FloatArray
    required: FloatArray
    p_values: FloatArray


def last_windows(n_periods: int, durations: Sequence[int], lookback: int) -> tuple[Window, ...]:
    """Return the last ``lookback`` windows of each duration, one period apart, latest first.

    Examples
    --------
    >>> [(w.start, w.duration) for w in last_windows(90, (10, 15), 2)]
    [(80, 10), (79, 10), (75, 15), (74, 15)]
    """
    return tuple(
        Window(start=n_periods - duration - back, duration=duration)
        for duration in durations
        for back in range(lookback)
    )


def scan(
    history: Panel,
    sets: BoolArray,
    *,
    windows: Sequence[Window],
    lifts: Sequence[float] = (),
    level: float = 0.9,
    donors: BoolArray | None = None,
    sign: int = 1,
    n_jobs: int = 1,
) -> Scan:
    r"""Score sets of treated markets: fit, placebo error, p-value of lifts and the smallest lift that is found.

    For each set and window the demeaned synthetic control (:math:`\sum_j w_j = 1, w \ge 0`, every series about its mean
    before the window) is fitted to the periods before the window, on one Gram matrix per window that all sets share.
    Weights don't depend on the window's outcomes, so every lift is tested with the same fit, by the signed sum of the gap
    over cyclic blocks; see :mod:`causalbench.numerics.window_scan` for the equation.

    This ranks candidates. Residuals before the window are those of a fit, those in it are predictions, so that the test
    rejects more often than the planned one, which refits under the hypothesis; and the best of many candidates looks better
    than it is. So power is measured by :func:`causalbench.geo.power.power_of`, on windows that the search didn't see.

    Parameters
    ----------
    history
        Outcomes before the experiment, without missing cells.
    sets
        Treated markets of each candidate, shape (n_sets, n_units).
    windows
        Where an experiment is placed; periods from its end on aren't used.
    lifts
        Relative lifts to test, in units of the treated outcome; 0 tests what isn't there.
    level
        Confidence level of the test.
    donors
        Markets that may serve as controls when they aren't treated, shape (n_units,) or (n_sets, n_units); all: None.
    sign
        -1 where a loss is expected: lifts and required lifts are then sizes of the loss.
    n_jobs
        Threads.

    Raises
    ------
    DataError
        For missing outcomes.
    RefusalError
        For a window with fewer than two periods before it, or a set without treated markets or without donors.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> outcome = 100 + rng.normal(size=(6, 40))
    >>> history = Panel(outcome=outcome, treated=outcome < 0, units=tuple("abcdef"), periods=tuple(range(40)))
    >>> found = scan(history, np.eye(6, dtype=bool), windows=last_windows(40, [5], 2), lifts=[0.0, 0.1])
    >>> found.required.shape, bool((found.p_values[:, :, 1] <= 0.1).all())
    ((6, 2), True)
    """
    sets = np.asarray(sets, dtype=bool)
    allowed = ~sets if donors is None else ~sets & np.broadcast_to(np.asarray(donors, dtype=bool), sets.shape)
    require_scannable(history, sets, allowed, windows)
    grid = np.asarray(lifts, dtype=float)

    def score(window: Window) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        return _score(history.outcome, sets, allowed, window, grid, level, sign)

    columns = each_window(score, windows, n_jobs=n_jobs)
    l2, error, required, p_values = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    return Scan(windows=tuple(windows), scaled_l2=l2, rel_error=error, required=required, p_values=p_values)


def each_window(score: Callable[[Window], T], windows: Sequence[Window], *, n_jobs: int) -> list[T]:
    """Score every window, in threads: the kernels release the interpreter's lock; results keep the windows' order."""
    with ThreadPoolExecutor(max_workers=n_jobs) as pool:
        return list(pool.map(score, windows))


def require_scannable(history: Panel, sets: BoolArray, allowed: BoolArray, windows: Sequence[Window]) -> None:
    """Refuse missing outcomes, windows outside the history, and sets with nobody treated or nobody to compare with."""
    gone = np.flatnonzero(np.isnan(history.outcome).any(axis=1))
    if len(gone):
        names = [history.units[i] for i in gone.tolist()]
        raise DataError(
            f"{len(names)} markets have periods without an outcome: {listing(names)}",
            remedy="set on_missing in [data]",
        )
    bad = [w for w in windows if w.start < 2 or w.duration < 1 or w.end > len(history.periods)]
    if bad:
        raise RefusalError(
            f"a window of {bad[0].duration} periods from period {bad[0].start} on doesn't fit into "
            f"{len(history.periods)} periods with at least two before it",
            remedy="shorten durations, take fewer windows, or add history",
        )
    if not (sets.any(axis=1) & allowed.any(axis=1)).all():
        raise RefusalError("a candidate has no treated market, or no market is left to compare it with")


def _score(
    outcome: FloatArray,
    sets: BoolArray,
    allowed: BoolArray,
    window: Window,
    lifts: FloatArray,
    level: float,
    sign: int,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Score all sets in one window."""
    gaps, plain = window_gaps(outcome[:, : window.end], sets, allowed, window.start)
    shares = sets / sets.sum(axis=1, keepdims=True)
    observed = shares @ outcome[:, window.start : window.end]
    uneven = np.linalg.norm(plain, axis=1)
    l2 = np.linalg.norm(gaps[:, : window.start], axis=1) / np.where(uneven > 0, uneven, 1.0)
    error = gaps[:, window.start :].sum(axis=1)
    rel_error = error / (observed.sum(axis=1) - error)
    needed = needed_draws(level, window.end)
    signed = sign * gaps
    p_values = lift_p_values(signed, observed, lifts)
    return l2, rel_error, required_lifts(signed, observed, needed), p_values


def window_gaps(outcome: FloatArray, sets: BoolArray, allowed: BoolArray, start: int) -> tuple[FloatArray, FloatArray]:
    """Fit every set before ``start`` on one Gram matrix.

    Returns
    -------
    tuple
        Gap of the treated mean over all periods given, shape (n_sets, n_periods); and before ``start`` with equal weights
        of the donors, shape (n_sets, start).

    Raises
    ------
    RefusalError
        When weights aren't certified to be optimal.
    """
    series = outcome - outcome[:, :start].mean(axis=1, keepdims=True)
    # What all markets share cancels between treated and donors, whose shares add up to one; the Gram matrix keeps digits.
    series = series - np.median(series, axis=0)
    gram = series[:, :start] @ series[:, :start].T
    gaps, plain = np.empty((len(sets), outcome.shape[1])), np.empty((len(sets), start))
    for first in range(0, len(sets), _BATCH):
        part = slice(first, first + _BATCH)
        shares = sets[part] / sets[part].sum(axis=1, keepdims=True)
        cross = shares @ gram
        fit = solve_simplex(gram, cross, np.einsum("ij,ij->i", cross, shares), allowed[part])
        worst = float(fit.rel_gap.max())
        if worst > GAP_LIMIT:
            raise RefusalError(f"weights of a candidate aren't optimal: relative duality gap {worst:.1e}")
        gaps[part] = (shares - fit.weights) @ series
        equal = allowed[part] / allowed[part].sum(axis=1, keepdims=True)
        plain[part] = (shares - equal) @ series[:, :start]
    return gaps, plain


def most_alike(outcome: FloatArray, count: int) -> IntArray:
    """Return for every market itself and the ``count - 1`` whose outcomes correlate most with its own, (n_units, count).

    Examples
    --------
    >>> import numpy as np
    >>> most_alike(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 4.0], [3.0, 2.0, 1.0]]), 2).tolist()
    [[0, 1], [1, 0], [2, 1]]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = np.atleast_2d(np.nan_to_num(np.corrcoef(outcome), nan=-1.0))
    np.fill_diagonal(alike, np.inf)
    order: IntArray = np.argsort(-alike, axis=1, kind="stable")[:, :count]
    return order
