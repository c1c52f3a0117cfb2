r"""Interim looks at a randomized geo experiment: may it stop early, and what does it say then?

At every planned look the statistic is computed for the actual assignment and for draws of the same design, on the data up
to then. The rows of that matrix are exchangeable where nothing has an effect, looks and all, so a rule that treats rows alike
stops the actual experiment as often as it stops a row: the family error is the share of rows stopped, counted, not
approximated. O'Brien-Fleming spending says how many rows may stop at each look
(:mod:`causalbench.numerics.spending`; Lan, DeMets 1983, Biometrika 70, 659-663).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from causalbench.artifacts import plain
from causalbench.data.panel import Panel
from causalbench.errors import DataError, RefusalError, listing
from causalbench.estimators.did import Did
from causalbench.geo.split import CONTROL, Split
from causalbench.numerics.spending import adjusted_p, allowed_stops, obrien_fleming, sequential_set, stop_looks
from causalbench.protocols import ComparesChanges, Estimator, FitsMany
from causalbench.values import FloatArray, IntArray, Interval, Uncertainty

LEAST_DRAWS = 20_000
"""Designs with fewer admissible assignments have no interim looks: the first of four needs p below .0001."""

MOST_DRAWS = 200_000
"""More draws than these aren't made for the sake of an early first look."""

_SLACK = 1e-10
_WHOLE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One interim look.

    Attributes
    ----------
    number, period, n_periods, fraction
        Which look, counted from 1; the last period it saw, how many periods of the test that makes, and which share of them.
    spent
        Family error that the plan allows up to here.
    share_stopped
        Share of the design's own draws that stop up to here: the exact family error.
    critical_value
        What the effect has to exceed in absolute value to stop here; None where nothing could.
    value, rel_value
        Average effect per treated market and period up to here; and as a share of what the treated would have had without
        it, None where that isn't positive or outcomes are logarithms.
    stopped
        Whether the experiment stops here.
    p_value
        Smallest family error rate at which it would have stopped by now.
    interval
        Constant effects that don't stop it by now; valid at every look together with all earlier ones.
    """

    number: int
    period: Any
    n_periods: int
    fraction: float
    spent: float
    share_stopped: float
    critical_value: float | None
    value: float
    rel_value: float | None
    stopped: bool
    p_value: float
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitoring:
    """What interim looks found.

    Attributes
    ----------
    looks
        Those made, up to the one that stopped.
    planned
        Periods of the test elapsed at each planned look.
    stop_look
        Number of the look that stopped the experiment; None where none did.
    finished
        Whether it stopped or the last look was made.
    family_error
        Share of the design's draws that stop by the last look made.
    n_draws, n_admissible
        Assignments compared, the actual one among them, and how many the design admits (None: not counted).
    n_unused
        Periods after the stop, or after the last look made, that weren't used.
    uncertainty
        Of the last look made.
    sentences
        What to tell the reader.
    """

    looks: tuple[Look, ...]
    planned: tuple[int, ...]
    level: float
    stop_look: int | None
    finished: bool
    family_error: float
    n_draws: int
    n_admissible: float | None
    n_unused: int
    uncertainty: Uncertainty
    sentences: tuple[str, ...]

    @property
    def value(self) -> float:
        """Average effect per treated market and period at the last look made."""
        return self.looks[-1].value

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values under the names of the fields."""
        result: dict[str, Any] = plain(self) | {"value": self.value}
        return result


def even_looks(n_looks: int, n_periods: int) -> tuple[int, ...]:
    """Return evenly spaced looks as periods elapsed, the last at the end.

    Examples
    --------
    >>> even_looks(4, 28)
    (7, 14, 21, 28)
    """
    if not 1 <= n_looks <= n_periods:
        raise RefusalError(
            f"{n_looks} looks don't fit into a test of {n_periods} periods", remedy="plan fewer looks or a longer test"
        )
    return tuple(math.ceil(n_periods * k / n_looks) for k in range(1, n_looks + 1))


def draws_needed(looks: Sequence[int], *, level: float, n_extreme: int = 1) -> int:
    """Return how many draws the first look needs in order to be able to stop.

    Parameters
    ----------
    looks
        Periods elapsed at each planned look, ascending.
    level
        Confidence level of all looks together.
    n_extreme
        Assignments as extreme as the actual one whatever the data: 2 where treated and controls may swap places.

    Examples
    --------
    >>> draws_needed((7, 14, 21, 28), level=0.95), draws_needed((7, 14, 21, 28), level=0.95, n_extreme=2)
    (20000, 22580)
    """
    first = obrien_fleming(np.array(looks) / looks[-1], 1 - level)[0]
    return max(LEAST_DRAWS, math.ceil(n_extreme / first - _WHOLE) if first > n_extreme / 1e15 else 10**15)


def require_looks(looks: Sequence[int], *, level: float, n_admissible: float) -> None:
    """Refuse interim looks that a design has too few assignments for; to be asked before the test as well.

    Parameters
    ----------
    looks
        Periods elapsed at each planned look, ascending.
    level
        Confidence level of all looks together.
    n_admissible
        How many assignments the design admits.

    Raises
    ------
    RefusalError
        With the count, and what would lift it.
    """
    first = obrien_fleming(np.array(looks) / looks[-1], 1 - level)[0]
    if n_admissible < LEAST_DRAWS:
        raise RefusalError(
            f"the design admits {n_admissible:.0f} assignments, interim looks need at least {LEAST_DRAWS:,}: the first of "
            f"{len(looks)} looks stops at p below {first:.1e}",
            remedy="randomize more markets, or let the design admit more splits; otherwise look once, at the end",
        )
    needed = draws_needed(looks, level=level)
    if n_admissible < needed:
        raise RefusalError(
            f"the first of {len(looks)} looks stops at p below {first:.1e}, which {n_admissible:.0f} assignments can't give",
            remedy="plan fewer looks, or a later first one",
        )


def monitor(
    history: Panel,
    split: Split,
    draws: IntArray,
    *,
    start: int,
    looks: Sequence[int],
    level: float,
    cell: int = 1,
    estimator: Estimator[Panel] | None = None,
    n_admissible: float | None = None,
) -> Monitoring:
    r"""Judge an experiment at its interim looks, with the family error of all looks together.

    With :math:`a_{dk}` the effect at look k as if assignment d had been the actual one, and :math:`c_d` the same statistic of
    the actual treatment itself, an effect :math:`\tau` taken off leaves :math:`|a_{dk} - c_d \tau|`. At look k as many of
    the assignments still going on stop as the increment of :math:`\alpha^*` allows, the largest first. p is the smallest
    family error rate at which the actual one stops, the set holds every :math:`\tau` at which it doesn't: one family of tests.
    Data after a stop aren't looked at.

    Draws must be the same at every look: draw them with a seed of their own.

    Don't use it for a split that was chosen rather than drawn, for looks that weren't planned, or for effects that aren't
    about constant: the set is about a constant one, p about none at all.

    Parameters
    ----------
    history
        Outcomes up to now, nobody marked as treated.
    split
        The assignment that was carried out.
    draws
        Assignments of the same design, drawn uniformly or all of them, shape (n_draws, n_units); cells as in ``split``.
        Draws that move other cells than ``cell`` are left aside, since those have effects of their own.
    start
        Index of the first period of the test.
    looks
        Periods of the test elapsed at each planned look, ascending, the last one its end. Looks that the data don't reach yet
        are left out.
    level
        Confidence level of all looks together.
    cell
        The treated cell that is judged against the controls.
    estimator
        Differences of mean changes (``did``) by default; any that compares changes, or whose donor weights come from the pre
        period.
    n_admissible
        How many assignments the design admits, where that is known.

    Raises
    ------
    RefusalError
        With fewer than 20,000 admissible assignments, or where the first look couldn't stop whatever happened.
    DataError
        For missing outcomes, looks out of order, or data that end before the first look.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.data.simulate import factor_panel
    >>> rng = np.random.default_rng(0)
    >>> panel = factor_panel(n_units=40, n_periods=88, n_treated=20, n_post=28, effect=2.0, rho=0.5, seed=0)
    >>> cells = panel.ever_treated.astype(int)
    >>> draws = rng.permuted(np.tile(cells, (20_000, 1)), axis=1)
    >>> found = monitor(panel, Split(cells=cells), draws, start=60, looks=(7, 14, 21, 28), level=0.95)
    >>> found.stop_look, found.n_unused, found.family_error <= 0.05
    (1, 21, True)
    """
    pool = _pool(split, draws, cell=cell)
    planned = _planned(looks)
    if n_admissible is not None:
        require_looks(planned, level=level, n_admissible=n_admissible)
    if len(pool) < LEAST_DRAWS:
        raise RefusalError(
            f"there are {len(pool)} assignments, interim looks need at least {LEAST_DRAWS:,}",
            remedy=f"draw at least {LEAST_DRAWS:,} assignments of the design",
        )
    made = [n for n in planned if start + n <= len(history.periods)]
    _require_data(history, start, made, planned)
    estimates, slopes = _statistics(history, pool, start=start, made=made, estimator=estimator or Did(), cell=cell)
    _require_first_look(slopes, planned, level=level)
    fractions = np.array(planned) / planned[-1]
    found: list[Look] = []
    treated = history.only(units=split.cells == cell)
    for look in _looks(treated, estimates, slopes, fractions, start=start, made=made, level=level):
        found.append(look)
        if look.stopped:
            break
    return _summary(history, found, planned, start=start, level=level, n_draws=len(pool), n_admissible=n_admissible)


def _planned(looks: Sequence[int]) -> tuple[int, ...]:
    planned = tuple(int(look) for look in looks)
    if not planned or planned[0] < 1 or any(b <= a for a, b in itertools.pairwise(planned)):
        raise DataError(
            f"looks must ascend from at least one period, found {listing(planned)}",
            remedy="give the periods elapsed at each look, such as 7, 14, 21, 28",
        )
    return planned


def _pool(split: Split, draws: IntArray, *, cell: int) -> IntArray:
    """Return the actual assignment and the draws that leave the other cells alone, the actual one first and once if counted."""
    actual, rows = split.cells, np.asarray(draws, dtype=np.int64)
    if rows.ndim != 2 or rows.shape[1] != len(actual):
        raise DataError(f"draws have shape {rows.shape}, but the split has {len(actual)} markets")
    if not (split.control.any() and (actual == cell).any()):
        raise DataError(f"the split has no market in cell {cell}, or no control", remedy="name a cell that exists")
    others = actual > CONTROL
    others = others & (actual != cell)
    rows = rows[((rows == actual) | ~others).all(axis=1)]
    rows = rows[((rows > CONTROL) & (rows != cell)).sum(axis=1) == others.sum()]
    same = (rows == actual).all(axis=1)
    if same.sum() == 1 and len(np.unique(rows, axis=0)) == len(rows):
        rows = rows[~same]  # an enumeration, or draws without repetition: every assignment counts once
    return np.vstack([actual, rows])


def _require_data(history: Panel, start: int, made: list[int], planned: tuple[int, ...]) -> None:
    if not 0 < start < len(history.periods):
        raise DataError(
            f"the test starts at period {start} of {len(history.periods)}, there must be some before and after"
        )
    if not made:
        raise DataError(
            f"{len(history.periods) - start} periods of the test are there, the first look needs {planned[0]}",
            remedy="wait for the first planned look",
        )
    missing = np.isnan(history.outcome[:, : start + made[-1]]).sum()
    if missing:
        raise DataError(
            f"{missing} cells have no outcome, interim looks need all", remedy="say what to do with them: on_missing"
        )


def _statistics(
    history: Panel, pool: IntArray, *, start: int, made: list[int], estimator: Estimator[Panel], cell: int
) -> tuple[FloatArray, FloatArray]:
    """Return the effect by assignment and look, and that of the actual treatment itself, each (n_assignments, n_made)."""
    actual = pool[0] == cell
    panel = history.assigned_to(actual, start=start)
    # What all markets share in a period changes no effect; without it ties stay ties at any level of the outcome.
    panel = replace(panel, outcome=panel.outcome - panel.outcome.mean(axis=0))
    parts = [panel.only(periods=np.arange(len(panel.periods)) < start + n) for n in made]
    if isinstance(estimator, ComparesChanges):
        weights = _contrasts(pool, cell=cell, sizes=history.weights)
        changes = np.stack([estimator.changes(part) for part in parts], axis=1)
        slopes = weights @ actual.astype(float)
        return weights @ changes, np.repeat(slopes[:, None], len(made), axis=1)
    if not isinstance(estimator, FitsMany):
        raise RefusalError(
            f"{type(estimator).__name__} can't be refitted to other assignments, as interim looks need it"
        )
    pairs = [_refit(estimator, part, pool, start=start, cell=cell) for part in parts]
    return np.stack([pair[0] for pair in pairs], axis=1), np.stack([pair[1] for pair in pairs], axis=1)


def _contrasts(pool: IntArray, *, cell: int, sizes: FloatArray | None) -> FloatArray:
    """Return each assignment's weights of markets: shares of the treated less shares of the controls."""
    size = np.ones(pool.shape[1]) if sizes is None else sizes
    weights = np.zeros(pool.shape)
    for side, sign in ((cell, 1.0), (CONTROL, -1.0)):
        share = (pool == side) * size
        total = share.sum(axis=1, keepdims=True)
        if (total <= 0).any():
            raise DataError(f"{int((total <= 0).sum())} draws have no market in cell {side}")
        weights += sign * share / total
    return weights


def _refit(
    estimator: FitsMany[Panel], part: Panel, pool: IntArray, *, start: int, cell: int
) -> tuple[FloatArray, FloatArray]:
    """Fit an estimator with donor weights to every assignment of the cell and the controls."""
    effects, slopes = np.empty(len(pool)), np.empty(len(pool))
    actual = (pool[0] == cell).astype(float)
    taking = (pool == cell) | (pool == CONTROL)
    for pattern in np.unique(taking, axis=0):
        rows = np.flatnonzero((taking == pattern).all(axis=1))
        treated = pool[np.ix_(rows, np.flatnonzero(pattern))] == cell
        fits = estimator.fit_many(part.only(units=pattern), np.where(treated, start, len(part.periods)))
        for row, mine, fit in zip(rows.tolist(), treated, fits, strict=True):
            if fit.weights is None:
                raise RefusalError(
                    f"{type(estimator).__name__} has no donor weights, so no set of effects can be formed"
                )
            effects[row] = fit.effect
            slopes[row] = actual[pattern][mine].mean() - fit.weights @ actual[pattern]
    return effects, slopes


def _require_first_look(slopes: FloatArray, planned: tuple[int, ...], *, level: float) -> None:
    n_draws, n_extreme = len(slopes), int((np.abs(np.abs(slopes[:, 0]) - 1) < _WHOLE).sum())
    fractions = np.array(planned) / planned[-1]
    if allowed_stops(fractions, 1 - level, n_draws)[0] >= n_extreme:
        return
    needed = draws_needed(planned, level=level, n_extreme=n_extreme)
    twins = "" if n_extreme == 1 else f", and {n_extreme} of them are as extreme as the actual one whatever the data"
    remedy = f"draw {needed:,} assignments" if needed <= MOST_DRAWS else "plan fewer looks, or a later first one"
    raise RefusalError(
        f"the first of {len(planned)} looks stops at p below {obrien_fleming(fractions, 1 - level)[0]:.1e}, which {n_draws:,} "
        f"draws can't give{twins}",
        remedy=remedy,
    )


def _looks(
    treated: Panel,
    estimates: FloatArray,
    slopes: FloatArray,
    fractions: FloatArray,
    *,
    start: int,
    made: list[int],
    level: float,
) -> Iterator[Look]:
    slack = _SLACK * float(np.abs(estimates[:, 0]).max())
    allowed, spent = allowed_stops(fractions, 1 - level, len(estimates)), obrien_fleming(fractions, 1 - level)
    for k, n_periods in enumerate(made):
        seen = np.abs(estimates[:, : k + 1])
        stopped, critical = stop_looks(seen, allowed[: k + 1], slack=slack)
        segments = sequential_set(estimates[:, : k + 1], slopes[:, : k + 1], allowed[: k + 1], slack=slack)
        yield Look(
            number=k + 1,
            period=treated.periods[start + n_periods - 1],
            n_periods=n_periods,
            fraction=float(fractions[k]),
            spent=float(spent[k]),
            share_stopped=float((stopped <= k).mean()),
            critical_value=float(critical[k]) if np.isfinite(critical[k]) else None,
            value=float(estimates[0, k]),
            rel_value=_relative(treated, float(estimates[0, k]), start=start, n_periods=n_periods),
            stopped=bool(stopped[0] <= k),
            p_value=adjusted_p(seen, fractions, planned=1 - level, slack=slack),
            interval=Interval(segments=segments, level=level, kind="confidence"),
        )


def _relative(treated: Panel, value: float, *, start: int, n_periods: int) -> float | None:
    seen = treated.outcome[:, start : start + n_periods].mean(axis=1)
    without = float(np.average(seen, weights=treated.weights)) - value
    return value / without if without > 0 and treated.scale != "log" else None


def _summary(
    history: Panel,
    looks: list[Look],
    planned: tuple[int, ...],
    *,
    start: int,
    level: float,
    n_draws: int,
    n_admissible: float | None,
) -> Monitoring:
    last = looks[-1]
    n_unused = len(history.periods) - start - last.n_periods
    uncertainty = Uncertainty(
        interval=last.interval,
        p_value=last.p_value,
        detail={"n_assignments": n_draws, "look": last.number, "family_error": last.share_stopped},
    )
    return Monitoring(
        looks=tuple(looks),
        planned=planned,
        level=level,
        stop_look=last.number if last.stopped else None,
        finished=last.stopped or last.number == len(planned),
        family_error=last.share_stopped,
        n_draws=n_draws,
        n_admissible=n_admissible,
        n_unused=n_unused,
        uncertainty=uncertainty,
        sentences=tuple(_sentences(last, planned, level=level, n_draws=n_draws, n_unused=n_unused)),
    )


def _sentences(last: Look, planned: tuple[int, ...], *, level: float, n_draws: int, n_unused: int) -> Iterator[str]:
    error = (
        f"{last.share_stopped:.4f} of {n_draws:,} draws of the design stop by then, out of {1 - level:.3g} for all "
        f"{len(planned)} looks"
    )
    if last.stopped:
        yield f"Stop at look {last.number} of {len(planned)} ({last.period}): p = {last.p_value:.4g}, adjusted for all looks."
        yield f"Family error up to this look: {error}."
    elif last.number == len(planned):
        yield f"No look stopped the experiment: p = {last.p_value:.4g}, adjusted for all {len(planned)} looks."
        yield f"Family error: {error}."
    else:
        yield (
            f"Go on: look {last.number} of {len(planned)} ({last.period}) doesn't stop the experiment; the next one is after "
            f"{planned[last.number]} periods."
        )
        yield f"Family error up to this look: {error}."
    if n_unused:
        when = "after the stop" if last.stopped else "since the last planned look"
        yield f"{n_unused} periods {when} weren't used."
