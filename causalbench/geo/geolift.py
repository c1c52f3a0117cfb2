"""GeoLift's market selection, column by column, for readers who come from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import rankdata

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, StudyError, listing, nearest
from causalbench.geo.scan import Window, each_window, last_windows, most_alike, require_scannable, window_gaps
from causalbench.numerics.simplex import solve_simplex
from causalbench.values import BoolArray, FloatArray, rejects

FAULTS = (
    "GeoLift's rank sorts power ascending, so that of two designs the one with less power comes first.",
    "GeoLift's rank leaves imbalance out, against its documentation.",
    "GeoLift's power is the share of the searched windows themselves, reported for the best of many designs.",
    "GeoLift's p-value permutes periods one by one, as if residuals had no autocorrelation.",
    "GeoLift counts p below .1 as found whatever level was asked for.",
)
"""What the reproduced columns carry over from that program."""

PUBLISHED: tuple[tuple[str, int, float, tuple[float, ...]], ...] = (
    (
        "chicago, cincinnati, houston, portland",
        15,
        0.05,
        (0.1971864, 74118.38, 159.3627, 0.04829913, 0.07576405, 0.002),
    ),
    ("chicago, portland", 15, 0.1, (0.1738778, 64563.75, 290.0071, 0.10117316, 0.03306537, 0.001)),
    (
        "chicago, cincinnati, houston, portland",
        10,
        0.1,
        (0.1966996, 99027.75, 316.6204, 0.09552879, 0.07576405, 0.004),
    ),
    ("chicago, portland", 10, 0.1, (0.1682310, 43646.25, 300.9401, 0.10378013, 0.03306537, 0.004)),
    ("chicago, houston, portland", 10, 0.1, (0.2305628, 75389.25, 350.3142, 0.10502968, 0.05797087, 0.005)),
    (
        "chicago, cincinnati, houston, nashville, san diego",
        15,
        0.05,
        (0.2699167, 95755.50, 146.7975, 0.04282215, 0.09801138, 0.007),
    ),
)
"""First six rows of the walkthrough's table (GeoLift 2.7.5): markets, duration, effect, values of :data:`COLUMNS`."""

COLUMNS = ("scaled_l2", "investment", "average_att", "average_mde", "share", "abs_lift_in_zero")

_DRAWS = 1_000
# Strictly below .1: with 1,000 permutations p is a multiple of .001.
_FOUND = 0.901
_POWERFUL = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRow:
    """One row of GeoLift's table: a set of markets and a duration, with the smallest effect that is found.

    Attributes
    ----------
    markets, duration, effect
        Treated markets, periods of the test, injected relative effect.
    power
        Share of the lookback windows where p is below .1.
    scaled_l2
        Norm of the gap before the window over that with equal weights, averaged over windows.
    investment
        Cost per incremental unit, times the effect, times the treated markets' outcome in the window.
    average_att
        Estimated effect per market and period.
    average_mde
        Estimated effect over the counterfactual; not the smallest effect that can be found, in spite of its name there.
    share, holdout
        The markets' share of the whole outcome, and what isn't treated.
    abs_lift_in_zero
        Absolute difference of ``average_mde`` and ``effect``, rounded to three digits.
    rank
        As GeoLift computes it, with its faults; see :data:`FAULTS`.
    """

    markets: tuple[str, ...]
    duration: int
    effect: float
    power: float
    scaled_l2: float
    investment: float
    average_att: float
    average_mde: float
    share: float
    abs_lift_in_zero: float
    holdout: float
    rank: int


def market_selection(
    history: Panel,
    *,
    durations: Sequence[int],
    market_counts: Sequence[int],
    effects: Sequence[float],
    lookback: int = 1,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    cost_per_incremental: float = 1.0,
    budget: float | None = None,
    rng: np.random.Generator | None = None,
    n_jobs: int = 1,
) -> tuple[MarketRow, ...]:
    r"""Reproduce GeoLift's market selection, ordered by its rank.

    Candidates are every market with those that correlate most with it. Each is fitted by the demeaned synthetic control on
    the periods before each of the last windows; the outcome of the treated in the window is raised by each effect
    :math:`\delta`:

    .. math::
        \text{average ATT} = \frac1{T_1} \sum_t \bigl((1 + \delta) y_t - \hat y_t\bigr), \qquad
        \text{average MDE} = \frac{\sum_t ((1 + \delta) y_t - \hat y_t)}{\sum_t \hat y_t}

    (facebookincubator/GeoLift, ``GeoLiftMarketSelection``). The p-value is of the sum of absolute residuals, refitted to all
    periods, under 1,000 permutations of single periods. Per set and duration the smallest effect found in more than .8 of
    the windows is kept. Use it to compare with that program; for a decision use the design desk's own search and power.

    Parameters
    ----------
    history
        Outcomes before the experiment.
    durations, market_counts, effects
        Candidates: periods, numbers of markets, relative effects of one sign.
    lookback
        Number of last windows.
    include, exclude
        Markets every set holds, and markets no set holds; the latter stay controls.
    cost_per_incremental, budget
        What one more unit costs; sets that cost the budget or more are left out.
    rng
        Draws the permutations; a fixed seed by default.
    n_jobs
        Threads.

    Raises
    ------
    StudyError
        For a market that isn't in the data, or effects of both signs.
    RefusalError
        Where no candidate satisfies include and exclude, or the history is too short.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> outcome = 100 + rng.normal(size=(8, 1)) + rng.normal(size=(8, 40))
    >>> history = Panel(outcome=outcome, treated=outcome < 0, units=tuple("abcdefgh"), periods=tuple(range(40)))
    >>> rows = market_selection(history, durations=[5], market_counts=[2], effects=[0.0, 0.1])
    >>> rows[0].rank, rows[0].effect, rows[0].power
    (1, 0.1, 1.0)
    """
    _require_names(history, (*include, *exclude))
    grid = np.asarray(effects, dtype=float)
    if grid.min() < 0 < grid.max():
        raise StudyError(["effects: all of one sign"], where="market selection")
    sets = alike_sets(history, market_counts, include=include, exclude=exclude)
    windows = last_windows(len(history.periods), durations, lookback)
    cells = score_cells(history, sets, windows=windows, lifts=grid, rng=rng, n_jobs=n_jobs)
    table = [
        row
        for duration in dict.fromkeys(durations)
        for row in _smallest_found(history, sets, cells, duration, grid, cost_per_incremental)
    ]
    return _ranked(table, budget)


def alike_sets(
    history: Panel, market_counts: Sequence[int], *, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> BoolArray:
    """Return the candidates, shape (n_sets, n_units): every market with those that correlate most with it."""
    must, never = np.isin(history.units, list(include)), np.isin(history.units, list(exclude))
    found: dict[tuple[int, ...], None] = {}
    for count in market_counts:
        found |= dict.fromkeys(tuple(sorted(row.tolist())) for row in most_alike(history.outcome, count))
    sets = np.zeros((len(found), len(history.units)), dtype=bool)
    for row, members in zip(sets, found, strict=True):
        row[list(members)] = True
    kept: BoolArray = sets[sets[:, must].all(axis=1) & ~sets[:, never].any(axis=1)]
    if not len(kept):
        raise RefusalError(
            "no market and those most like it hold all of include and none of exclude",
            remedy="raise market_counts, or include fewer markets",
        )
    return kept


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """Every set, window and lift: arrays of shape (n_sets, n_windows, n_lifts), ``scaled_l2`` without lifts."""

    windows: tuple[Window, ...]
    scaled_l2: FloatArray
    p_values: FloatArray
    average_att: FloatArray
    average_mde: FloatArray


def score_cells(
    history: Panel,
    sets: BoolArray,
    *,
    windows: Sequence[Window],
    lifts: FloatArray,
    rng: np.random.Generator | None = None,
    n_jobs: int = 1,
) -> Cells:
    """Estimate and test every lift in every window as GeoLift does; estimates share one fit over lifts, tests refit.

    ``rng`` draws the permutations of periods, the same ones for all sets and lifts of a window.
    """
    require_scannable(history, sets, ~sets, windows)
    rng = np.random.default_rng(0) if rng is None else rng
    drawn = {(window.end, window.duration): _drawn(window, rng) for window in windows}
    grid = np.asarray(lifts, dtype=float)

    def score(window: Window) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        return _window_cells(history.outcome[:, : window.end], sets, window, grid, drawn[window.end, window.duration])

    columns = each_window(score, windows, n_jobs=n_jobs)
    l2, p_values, att, mde = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    return Cells(windows=tuple(windows), scaled_l2=l2, p_values=p_values, average_att=att, average_mde=mde)


def _drawn(window: Window, rng: np.random.Generator) -> BoolArray:
    """Draw which periods stand for the window, shape (n_periods, n_draws)."""
    order = np.argpartition(rng.random((_DRAWS, window.end)), window.duration - 1, axis=1)[:, : window.duration]
    chosen = np.zeros((_DRAWS, window.end), dtype=bool)
    np.put_along_axis(chosen, order, values=True, axis=1)
    return chosen.T


def _window_cells(
    outcome: FloatArray, sets: BoolArray, window: Window, lifts: FloatArray, chosen: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    gaps, plain = window_gaps(outcome, sets, ~sets, window.start)
    l2 = np.linalg.norm(gaps[:, : window.start], axis=1) / np.linalg.norm(plain, axis=1)
    shares = sets / sets.sum(axis=1, keepdims=True)
    observed = shares @ outcome
    total = observed[:, window.start :].sum(axis=1)[:, None]
    error = gaps[:, window.start :].sum(axis=1)[:, None]
    effect = error + lifts * total
    p_values = _permuted(outcome, sets, window, lifts, chosen)
    return l2, p_values, effect / window.duration, effect / (total - error)


def _permuted(outcome: FloatArray, sets: BoolArray, window: Window, lifts: FloatArray, chosen: BoolArray) -> FloatArray:
    """Refit to all periods with each lift in and return p of the absolute residuals' sum, shape (n_sets, n_lifts)."""
    series = outcome - outcome.mean(axis=1, keepdims=True)
    series = series - np.median(series, axis=0)
    gram = series @ series.T
    shares = sets / sets.sum(axis=1, keepdims=True)
    added = shares @ outcome
    added[:, : window.start] = 0.0
    added -= added.mean(axis=1, keepdims=True)
    base = shares @ series
    found = np.empty((len(sets), len(lifts)))
    draws = chosen.astype(float)
    for k, lift in enumerate(lifts.tolist()):
        target = base + lift * added
        fit = solve_simplex(gram, target @ series.T, np.einsum("it,it->i", target, target), ~sets)
        sizes = np.abs(target - fit.weights @ series)
        own = sizes[:, window.start :].sum(axis=1) * (1 - 1e-10)
        found[:, k] = (sizes @ draws >= own[:, None]).mean(axis=1)
    return found


def _smallest_found(
    history: Panel, sets: BoolArray, cells: Cells, duration: int, effects: FloatArray, cost: float
) -> list[MarketRow]:
    """Return each set's row of one duration, where an effect other than zero is found in more than .8 of the windows."""
    mine = np.array([window.duration == duration for window in cells.windows])
    starts = [window.start for window in cells.windows if window.duration == duration]
    power = np.vectorize(rejects, otypes=[float])(cells.p_values[:, mine], _FOUND).mean(axis=1)
    l2, att, mde = (part[:, mine].mean(axis=1) for part in (cells.scaled_l2, cells.average_att, cells.average_mde))
    whole = float(history.outcome.sum())
    rows = []
    for i, members in enumerate(sets):
        able = [int(k) for k in np.argsort(np.abs(effects)) if power[i, k] > _POWERFUL and effects[k] != 0]
        if not able:
            continue
        k, treated = able[0], history.outcome[members]
        spent = float(np.mean([treated[:, start : start + duration].sum() for start in starts]))
        share = float(treated.sum()) / whole
        effect = float(effects[k])
        rows.append(
            MarketRow(
                markets=tuple(unit for unit, flag in zip(history.units, members, strict=True) if flag),
                duration=duration,
                effect=effect,
                power=float(power[i, k]),
                scaled_l2=float(l2[i]),
                investment=cost * abs(effect) * spent,
                average_att=float(att[i, k]),
                average_mde=float(mde[i, k]),
                share=share,
                abs_lift_in_zero=round(abs(float(mde[i, k]) - effect), 3),
                holdout=share if effect < 0 else 1 - share,
                rank=0,
            )
        )
    return rows


def _ranked(rows: list[MarketRow], budget: float | None) -> tuple[MarketRow, ...]:
    """Rank as GeoLift does: mean of dense ranks of effect, power (ascending) and bias; then the budget, and again."""
    if not rows:
        return ()
    parts = ([abs(row.effect) for row in rows], [row.power for row in rows], [row.abs_lift_in_zero for row in rows])
    ranks = rankdata(np.mean([rankdata(part, method="dense") for part in parts], axis=0).round(9), method="min")
    kept = [(rank, row) for rank, row in zip(ranks, rows, strict=True) if budget is None or row.investment < budget]
    again = rankdata([rank for rank, _ in kept], method="min")
    ranked = [replace(row, rank=int(rank)) for rank, (_, row) in zip(again, kept, strict=True)]
    return tuple(sorted(ranked, key=lambda row: (row.rank, row.markets, row.duration)))


def _require_names(history: Panel, names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in history.units]
    if unknown:
        found = listing([f"{name!r}{nearest(name, history.units)}" for name in unknown])
        raise StudyError([f"include, exclude: no such market: {found}"], where="market selection")


def walkthrough(history: Panel, *, n_jobs: int = 1) -> tuple[MarketRow, ...]:
    """Run the published walkthrough's market selection on its data: 33 sets, 2 durations, 5 effects."""
    return market_selection(
        history,
        durations=(10, 15),
        market_counts=(2, 3, 4, 5),
        effects=(0.0, 0.05, 0.1, 0.15, 0.2),
        include=("chicago",),
        exclude=("honolulu",),
        cost_per_incremental=7.5,
        budget=100_000.0,
        n_jobs=n_jobs,
    )


def parity_rows(history: Panel) -> list[dict[str, Any]]:
    """Put our walkthrough beside the published one: a dict per row and column.

    Keys: ``markets, duration, effect, column, ours, published, rel_difference``; ``ours`` is None where our table has no
    such row with that effect.
    """
    ours = {(row.markets, row.duration, row.effect): row for row in walkthrough(history)}
    table = []
    for names, duration, effect, values in PUBLISHED:
        markets = tuple(names.split(", "))
        row = ours.get((markets, duration, effect))
        for column, published in zip(COLUMNS, values, strict=True):
            value = None if row is None else float(getattr(row, column))
            rel = None if value is None else abs(value / float(published) - 1)
            table.append(
                {
                    "markets": list(markets),
                    "duration": duration,
                    "effect": effect,
                    "column": column,
                    "ours": value,
                    "published": published,
                    "rel_difference": rel,
                }
            )
    return table
