r"""Which series jump to another level and stay there, and when?

Every series is taken in units of its own movement from one period to the next, and compared with the weighted mean of the
clean others that moves most like it. The weights are fitted to first differences without their extremes, in which a jump is
one value among many, so that series that jump together don't explain each other. The gap :math:`e_t` is then whitened as an
AR(1) process, and a step at every date :math:`s` is fitted by generalised least squares,

.. math:: z(s) = \frac{x_s^{*\prime} M e^*}{\hat\sigma \sqrt{x_s^{*\prime} M x_s^*}}, \qquad e^*_t = e_t - \rho e_{t-1},

with M the projection off the constant; :math:`\rho` and :math:`\hat\sigma` are those left by the best step. A step counts up to
twice the difference between the medians of the ten periods on either side, so that a single outlier is no level. The largest
:math:`|z|` over dates of a white series of T periods exceeds c with probability :math:`1 - e^{-\lambda(c)}`,

.. math:: \lambda(c) = 2 \bar F(c) + c f(c) \sum_s \frac{T}{s (T - s)} \nu\Bigl(c \sqrt{\tfrac{T}{s (T - s)}}\Bigr),
   \qquad \nu(x) \approx e^{-0.583 x},

(James, James, Siegmund 1987, Biometrika 74, 71-83), with Student's t in the place of the normal law. The maxima are divided by
the ratio of their median over series to that law's own, where it is above one, so that whatever the law gets wrong for all
alike cancels. A series jumps when its p-value times the number of series is at most the size asked for, which is
nominal: what that comes to is simulated in ``tests/simulation/test_launch_check_sizes.py``. The most unusual
one is set aside and the rest judged again without it, until none jumps. Because a wandering series also differs from
itself, the change of the mean from the twenty periods before the date to the ten from it on has to be unusual among such
changes at all dates of that series. Last, every series is tested at the dates so found, without a search over dates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from causalbench.numerics.simplex import solve_simplex

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

FEWEST_SERIES, FEWEST_PERIODS = 6, 16
"""With fewer series to compare with, or fewer periods, there is nothing to judge by."""

_RIDGE = 1.0
_EXTREME = 4.0
_LIKE_PERIODS = 60
_NEAR = 10
_ROUNDING = 1e-9
_GUARD = 60.0
"""By how much the p-value of abruptness is multiplied before it is held against the size: of 200 panels of one law of random
walks 6% then alarm (Monte Carlo error 1.7)."""
_SAME_DATE = 3
_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LevelShifts:
    """What was found in each series; arrays have shape (n_series,).

    Attributes
    ----------
    suspect
        Whether it jumps.
    date
        Index of the first period on the other level, whether it jumps or not.
    shift
        Size of that step, in units of the outcome.
    p_value
        Of no step at any date, times the number of series, at most 1.
    limit
        Step in the middle of the series at which :math:`z` reaches its critical value, in units of the outcome. What must be
        abrupt as well is found later: see :func:`shares_found`.
    profile
        :math:`z(s)` of every date, shape (n_series, n_periods), zero where none is looked for.
    gaps
        Of each series from the clean others, in units of the outcome; shape (n_series, n_periods), NaN beyond its length.
    rho
        Autocorrelation that each gap is judged with, shape (n_series,).
    """

    suspect: BoolArray
    date: IntArray
    shift: FloatArray
    p_value: FloatArray
    limit: FloatArray
    profile: FloatArray
    gaps: FloatArray
    rho: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """The best step in one gap: its date, size and ``z``, all ``z`` and steps by date, and the size of a ``z`` of one mid-way.

    ``abruptness`` is the change of the mean across the date in units of ``usual``, how such changes scatter over all dates.
    """

    date: int
    shift: float
    z: float
    profile: FloatArray
    shifts: FloatArray
    unit: float
    abruptness: float
    usual: float
    rho: float


def find_level_shifts(
    series: FloatArray, lengths: IntArray, pool: BoolArray, *, n_fit: int, season: int = 1, size: float
) -> LevelShifts:
    """Find the series that jump to another level, and date the jump.

    Parameters
    ----------
    series
        Shape (n_series, n_periods), without gaps over each series' length; every series moves.
    lengths
        Number of periods, from the first on, in which each series is looked at, shape (n_series,); at least 16.
    pool
        Which series may be compared with, shape (n_series,); at least six, of full length.
    n_fit
        Number of periods, from the first on, to whose changes the weights are fitted.
    season
        Number of periods in a season whose pattern is taken off the gaps, where there are four of them.
    size
        Nominal probability that any series is found where none jumps.

    Raises
    ------
    ValueError
        With too few series to compare with, or too few periods.

    Examples
    --------
    >>> import numpy as np
    >>> series = np.random.default_rng(0).normal(size=(12, 60))
    >>> series[[3, 5], 40:] += 4
    >>> found = find_level_shifts(series, np.full(12, 60), np.full(12, True), n_fit=60, size=0.05)
    >>> np.flatnonzero(found.suspect).tolist(), found.date[found.suspect].tolist()
    ([3, 5], [40, 40])
    """
    if pool.sum() < FEWEST_SERIES or min(lengths.min(), n_fit) < FEWEST_PERIODS:
        raise ValueError(f"{pool.sum()} series and {lengths.min()} periods can't be judged")
    unit = np.maximum(_spread(np.diff(series[:, :n_fit], axis=1)), np.finfo(float).tiny)[:, None]
    scaled = (series - np.median(series[:, :n_fit], axis=1, keepdims=True)) / unit
    suspect = np.zeros(len(series), dtype=bool)
    examine = partial(_examine, scaled, lengths, n_fit=n_fit, season=season)
    suspect = _set_aside(examine, lengths, pool, size=size)
    steps, gaps = examine(pool & ~suspect)
    scale = _p_values(steps, lengths, suspect)[1]
    for _ in range(_ROUNDS if suspect.any() else 0):
        at_date, joined = _p_values_at(_dates(steps, suspect), steps, gaps, lengths, scale)
        more = suspect | (at_date <= size)
        if (more == suspect).all() or (pool & ~more).sum() < _least(pool):
            break
        suspect = more
        steps, gaps = examine(pool & ~suspect)
        scale = _p_values(steps, lengths, suspect)[1]
    at_date, joined = _p_values_at(_dates(steps, suspect), steps, gaps, lengths, scale)
    p_values = np.minimum(_p_values(steps, lengths, suspect)[0], at_date)
    found = suspect & (p_values <= size)
    dates = np.where(found, joined, [step.date for step in steps])
    limits = {length: _critical(size, length, len(series)) for length in set(lengths.tolist())}
    critical = np.array([limits[length] for length in lengths.tolist()])
    beyond = np.arange(series.shape[1]) >= lengths[:, None]
    return LevelShifts(
        suspect=found,
        date=dates,
        shift=np.array([step.shifts[date] for step, date in zip(steps, dates.tolist(), strict=True)]) * unit[:, 0],
        p_value=p_values,
        limit=critical * scale * np.array([step.unit for step in steps]) * unit[:, 0],
        profile=np.array([np.pad(step.profile, (0, series.shape[1] - len(step.profile))) for step in steps]),
        gaps=np.where(beyond, np.nan, gaps * unit),
        rho=np.array([step.rho for step in steps]),
    )


def _set_aside(
    examine: Callable[[BoolArray], tuple[list[Step], FloatArray]], lengths: IntArray, pool: BoolArray, *, size: float
) -> BoolArray:
    """Set the most unusual series aside, again and again, until none of the rest jumps."""
    suspect = np.zeros(len(pool), dtype=bool)
    while True:
        p_values = _p_values(examine(pool & ~suspect)[0], lengths, suspect)[0]
        worst = int(np.argmin(np.where(suspect, np.inf, p_values)))
        spent = pool[worst] and (pool & ~suspect).sum() <= _least(pool)
        if suspect[worst] or p_values[worst] > size or spent:
            return suspect
        suspect[worst] = True


def _least(pool: BoolArray) -> int:
    """Return how many series must stay to compare with."""
    return max(FEWEST_SERIES, int(pool.sum()) // 2)


def shares_found(
    found: LevelShifts, lengths: IntArray, sizes: FloatArray, *, size: float, rng: np.random.Generator, n_draws: int
) -> FloatArray:
    """Return which share of jumps put into clean series at random dates is found, by their size.

    Parameters
    ----------
    found, lengths
        What was found, and in how many periods of each series.
    sizes
        Sizes of the jumps, in multiples of each series' own ``limit``, shape (k,).
    size
        Nominal probability that any series is found where none jumps.

    Returns
    -------
    ndarray
        Shape (k,). Each of ``n_draws`` jumps is tried at every size, up or down, by both tests of the search: its :math:`z`,
        and the abruptness of its change.
    """
    clean = np.flatnonzero(~found.suspect)
    limits = {length: _critical(size, length, len(found.suspect)) for length in set(lengths.tolist())}
    hits = np.zeros(len(sizes))
    for _ in range(n_draws):
        j = int(rng.choice(clean))
        length = int(lengths[j])
        trim = _trim(length)
        date, sign = int(rng.integers(trim, length - trim + 1)), rng.choice([-1.0, 1.0])
        gap = found.gaps[j, :length]
        after = np.arange(length) >= date
        # The scale of this series' z is the one that its limit was formed with.
        own = best_step(gap, rho=float(found.rho[j]))
        scale = found.limit[j] / (own.unit * limits[length])
        for k, multiple in enumerate(sizes):
            step = best_step(gap + sign * multiple * found.limit[j] * after, rho=float(found.rho[j]))
            abrupt = _GUARD * _tail_of_change(step.abruptness, length) <= size
            hits[k] += abrupt and abs(step.z) / scale >= limits[length]
    return hits / n_draws


def best_step(gap: FloatArray, *, rho: float | None = None) -> Step:
    """Fit a step at every date of one gap, shape (n_periods,), and return the best; ``rho`` is estimated where not given."""
    known = rho
    rho = _autocorrelation(gap - gap.mean()) if known is None else known
    for _ in range(2):
        z, shift, den = _scan(gap, rho)
        date = int(np.argmax(np.abs(z)))
        rest = gap - shift[date] * (np.arange(len(gap)) >= date)
        rest -= rest.mean()
        rho = _autocorrelation(rest) if known is None else known
    z, shift, den = _scan(gap, rho)
    date = int(np.argmax(np.abs(z)))
    innovations = (rest[1:] - rho * rest[:-1]).std() * math.sqrt(len(gap) / max(len(gap) - 4, 1))
    sigma = max(float(innovations), _ROUNDING)
    share = _lasting(gap, date, float(shift[date]))
    middle = float(den[len(gap) // 2])
    abrupt, usual = _abruptness(gap, date, float(shift[date]))
    return Step(
        date=date,
        shift=float(shift[date]),
        z=float(z[date]) * share / sigma,
        profile=z / sigma,
        shifts=shift,
        unit=sigma / math.sqrt(middle),
        abruptness=abrupt / max(usual, _ROUNDING),
        usual=usual,
        rho=rho,
    )


def _lasting(gap: FloatArray, date: int, shift: float) -> float:
    """Return the share of a step that the medians on either side bear out: all of it from half its size on."""
    before, after = gap[max(date - _NEAR, 0) : date], gap[date : date + _NEAR]
    side = math.copysign(1.0, shift)
    return min(1.0, 2 * max(side * float(np.median(after) - np.median(before)), 0.0) / max(abs(shift), _ROUNDING))


def _abruptness(gap: FloatArray, date: int, shift: float) -> tuple[float, float]:
    """Return the change of the mean across a date, and how such changes scatter over all dates once the step is taken off."""
    near = [s for s in (date - 1, date, date + 1) if 0 < s < len(gap)]
    rest = gap - shift * (np.arange(len(gap)) >= date)
    inner = slice(_trim(len(gap)) - 1, len(gap) - _trim(len(gap)))
    usual = 1.4826 * float(np.median(np.abs(_changes(rest)[inner])))
    return float(np.abs(_changes(gap)[np.array(near) - 1]).max()), usual


def _changes(gap: FloatArray) -> FloatArray:
    """Return the mean from every date on less that before it, over windows; shape (n_periods - 1,), from the second period on."""
    n = len(gap)
    after, before = _windows(n)
    total = np.concatenate([[0.0], np.cumsum(gap)])
    s = np.arange(1, n)
    end, begin = np.minimum(s + after, n), np.maximum(s - before, 0)
    changes: FloatArray = (total[end] - total[s]) / (end - s) - (total[s] - total[begin]) / (s - begin)
    return changes


def _windows(n: int) -> tuple[int, int]:
    """Return how many periods after and before a date its change is taken over."""
    after = min(_NEAR, max(n // 8, 3))
    return after, 2 * after


def _scan(gap: FloatArray, rho: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return z times sigma, the step and its information at every date; zeros outside the dates looked at."""
    n = len(gap)
    first, later = math.sqrt(1 - rho**2), 1 - rho
    white = np.concatenate([[first * gap[0]], gap[1:] - rho * gap[:-1]])
    remaining = np.arange(n)[::-1].astype(float)
    tail = np.cumsum(white[::-1])[::-1] - white
    own, with_step = 1 + later**2 * remaining, later + later**2 * remaining
    constant = first**2 + later**2 * (n - 1)
    level = first * white[0] + later * white[1:].sum()
    information = np.maximum(own - with_step**2 / constant, _ROUNDING)
    shift = (white + later * tail - with_step * level / constant) / information
    trim = _trim(n)
    outside = np.ones(n, dtype=bool)
    outside[trim : n - trim + 1] = False
    shift[outside] = 0.0
    return shift * np.sqrt(information), shift, information


def _trim(n: int) -> int:
    return max(3, n // 20)


def _autocorrelation(rows: FloatArray) -> float:
    """Return the lag-one autocorrelation, with what a fitted level and step take off it on average given back."""
    square = float(rows @ rows)
    raw = float(rows[1:] @ rows[:-1]) / square if square > 0 else 0.0
    return float(np.clip(raw + (2 + 4 * raw) / len(rows), -0.5, 0.99))


def _examine(
    scaled: FloatArray, lengths: IntArray, donors: BoolArray, *, n_fit: int, season: int
) -> tuple[list[Step], FloatArray]:
    """Return the best step of every series' gap from the donors."""
    rows = scaled - np.median(scaled[donors], axis=0)
    changes = np.diff(rows[:, :n_fit], axis=1)
    edge = _EXTREME * _spread(changes)[:, None]
    changes = np.clip(changes, -edge, edge)
    columns = changes[donors]
    gram = columns @ columns.T
    square = (changes**2).sum(axis=1)
    gram += _RIDGE * float(np.median(np.diag(gram))) * np.eye(len(gram))
    allowed = np.flatnonzero(donors)[None, :] != np.arange(len(scaled))[:, None]
    weights = solve_simplex(gram, changes @ columns.T, square, allowed).weights
    gaps = rows - weights @ rows[donors]
    gaps = np.array([_without_season(gap, int(n), season) for gap, n in zip(gaps, lengths, strict=True)])
    cut = [gap[:n] for gap, n in zip(gaps, lengths.tolist(), strict=True)]
    own = [best_step(gap).rho for gap in cut]
    typical = float(np.median(own))
    shrunk = [
        (len(gap) * rho + _LIKE_PERIODS * typical) / (len(gap) + _LIKE_PERIODS)
        for gap, rho in zip(cut, own, strict=True)
    ]
    return [best_step(gap, rho=rho) for gap, rho in zip(cut, shrunk, strict=True)], gaps


def _without_season(gap: FloatArray, length: int, season: int) -> FloatArray:
    if season < 2 or length < 4 * season:
        return gap
    phase = np.arange(len(gap)) % season
    means = np.array([np.median(gap[:length][phase[:length] == k]) for k in range(season)])
    rest: FloatArray = gap - (means - means.mean())[phase]
    return rest


def _spread(rows: FloatArray) -> FloatArray:
    """Return each row's standard deviation by its median distance from its median; by all values where half are equal."""
    middle = np.median(rows, axis=1, keepdims=True)
    robust = 1.4826 * np.median(np.abs(rows - middle), axis=1)
    spread: FloatArray = np.where(robust > 0, robust, rows.std(axis=1))
    return spread


def _p_values(steps: list[Step], lengths: IntArray, suspect: BoolArray) -> tuple[FloatArray, float]:
    """Return p-values times the number of series, and the ratio of the maxima's median to their law's own."""
    n = len(steps)
    sizes = np.array([abs(step.z) for step in steps])
    kept = ~suspect
    own = np.median(sizes[kept])
    law = {length: _median_of_law(length, n) for length in set(lengths.tolist())}
    scale = max(1.0, float(own / np.median([law[length] for length in lengths[kept].tolist()])))
    tails = [
        max(_tail(value / scale, int(length), n), _GUARD * _tail_of_change(step.abruptness, int(length)) / n)
        for value, step, length in zip(sizes, steps, lengths, strict=True)
    ]
    return np.minimum(np.array(tails) * n, 1.0), scale


def _dates(steps: list[Step], suspect: BoolArray) -> list[int]:
    """Return the dates at which suspects jump; those of dates a few periods apart are one, where together they fit best."""
    dates: list[int] = []
    rest = sorted(np.flatnonzero(suspect).tolist(), key=lambda j: steps[j].date)
    while rest:
        group = [j for j in rest if steps[j].date - steps[rest[0]].date <= _SAME_DATE]
        length = min(len(steps[j].profile) for j in group)
        dates.append(int(np.argmax(np.sum([steps[j].profile[:length] ** 2 for j in group], axis=0))))
        rest = [j for j in rest if j not in group]
    return dates


def _p_values_at(
    dates: list[int], steps: list[Step], gaps: FloatArray, lengths: IntArray, scale: float
) -> tuple[FloatArray, IntArray]:
    """Test every series for a step at dates that others gave; returns p-values and the best of the dates."""
    n = len(steps)
    p_values, best = np.ones(n), np.array([step.date for step in steps])
    for j, (step, length) in enumerate(zip(steps, lengths.tolist(), strict=True)):
        for date in dates:
            if _trim(length) <= date <= length - _trim(length):
                z = abs(step.profile[date]) * _lasting(gaps[j, :length], date, float(step.shifts[date])) / scale
                p = 2 * float(special.stdtr(_degrees(n, length), -z)) * n * len(dates)
                if p < p_values[j]:
                    p_values[j], best[j] = p, date
    return p_values, best


def _degrees(n_series: int, n_periods: int) -> float:
    return float(min(n_series, n_periods / 3))


def _tail(c: float, n_periods: int, n_series: int) -> float:
    """Return the probability that the largest |z| over dates exceeds c."""
    degrees, trim = _degrees(n_series, n_periods), _trim(n_periods)
    s = np.arange(trim, n_periods - trim + 1)
    rate = n_periods / (s * (n_periods - s))
    clumps = float((rate * np.exp(-0.583 * c * np.sqrt(rate))).sum())
    constant = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    density = math.exp(constant - (degrees + 1) / 2 * math.log1p(c * c / degrees))
    return -math.expm1(-(2 * float(special.stdtr(degrees, -c)) + c * density * clumps))


def _tail_of_change(c: float, n_periods: int) -> float:
    """Bound the probability that the largest change over dates exceeds c times its spread, which T / w changes tell."""
    blocks = n_periods / _windows(n_periods)[0]
    return min(1.0, float(2 * blocks * special.stdtr(2 * blocks, -c)))


def _critical(size: float, n_periods: int, n_series: int) -> float:
    return float(optimize.brentq(lambda c: _tail(c, n_periods, n_series) * n_series - size, 0.1, 1e3))


def _median_of_law(n_periods: int, n_series: int) -> float:
    return float(optimize.brentq(lambda c: _tail(c, n_periods, n_series) - 0.5, 0.1, 1e3))
