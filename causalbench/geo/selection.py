"""Finding a split: what a selector must offer, what it proposes, and how good any split is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.random import Generator

from causalbench.data.panel import Panel
from causalbench.errors import DataError, listing
from causalbench.geo.split import CONTROL, Split
from causalbench.values import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from causalbench.geo.constraints import Constraints


_FEWEST_PERIODS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proposal:
    """One split that a selector found.

    Attributes
    ----------
    split
        Which market is in which cell.
    score
        What the selector made small; only comparable among proposals of one selector.
    scaled_l2
        Norm of the treated mean's gap to its synthetic control before the test, over the norm with equal weights; the largest
        of the cells. None where the selector fits no controls.
    detail
        What else the selector knows of its design, plain values.
    """

    split: Split
    score: float
    scaled_l2: float | None = None
    detail: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many assignments a randomised design can draw; ``exact`` is false where it is estimated from draws."""

    value: float
    exact: bool


class Selector(Protocol):
    """Finds splits that the constraints admit. It looks at nothing but the history that it is given."""

    summary: ClassVar[str]
    randomized: ClassVar[bool]

    def propose(
        self, history: Panel, constraints: Constraints, *, durations: tuple[int, ...], rng: Generator
    ) -> tuple[Proposal, ...]:
        """Return admissible splits, best first."""
        ...

    def draws(
        self, history: Panel, constraints: Constraints, split: Split, *, n_draws: int, rng: Generator
    ) -> IntArray:
        """Return assignments that the same design could have drawn, uniformly; shape (n_draws, n_units)."""
        ...


@runtime_checkable
class CountsDraws(Protocol):
    """A selector that knows how many assignments its design can draw."""

    def n_admissible(self, history: Panel, constraints: Constraints, split: Split, *, rng: Generator) -> Count:
        """Return the number of assignments that ``draws`` chooses among."""
        ...


def n_admissible(
    selector: Selector, history: Panel, constraints: Constraints, split: Split, *, rng: Generator
) -> Count:
    """Return how many assignments a design can draw; a selector that chooses has exactly one."""
    if isinstance(selector, CountsDraws):
        return selector.n_admissible(history, constraints, split, rng=rng)
    return Count(value=1.0, exact=True)


def complete_outcome(history: Panel) -> FloatArray:
    """Return the outcome, shape (n_units, n_periods), refusing missing cells by name: a search can't compare paths with gaps."""
    if history.outcome.shape[1] < _FEWEST_PERIODS:
        raise DataError(
            f"the history has {history.outcome.shape[1]} periods; paths can't be compared",
            remedy="pass a longer history before the test",
        )
    gaps: BoolArray = np.asarray(np.isnan(history.outcome).any(axis=1))
    if gaps.any():
        names = [unit for unit, gap in zip(history.units, gaps, strict=True) if gap]
        raise DataError(
            f"{len(names)} markets have periods without {history.metric}: {listing(names)}",
            remedy="set [data] on_missing, or name these markets in busy so that they take no part",
        )
    return history.outcome


def balance(history: Panel, split: Split) -> dict[str, Any]:
    r"""Compare the cells of any split before the test: is this one any good?

    For each cell, c its markets and 0 the controls: means per market and period, shares of the total, slopes of the mean path
    per period, the correlation of the two mean paths and of their changes, and standardised differences
    :math:`(\bar f_c - \bar f_0) / s_f` of market features f (mean, trend, volatility), with :math:`s_f` their standard
    deviation over all markets of the split. Above .25 in absolute value a difference is usually called large (Imbens and
    Rubin 2015, Causal Inference, section 14.2).

    Parameters
    ----------
    history
        Markets before the test, shape (n_units, n_periods), nothing missing.
    split
        Any split of these markets.

    Returns
    -------
    dict
        ``control`` with ``n_markets, mean, share, trend``, and ``cells``: one such table per treated cell, which also has
        ``correlation``, ``correlation_of_changes`` and ``differences``; and ``left_out``, the number of markets in no cell.

    Examples
    --------
    >>> import numpy as np
    >>> outcome = np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0], [3.0, 2.0, 1.0]])
    >>> history = Panel(outcome=outcome, treated=outcome < 0, units=("a", "b", "c"), periods=(1, 2, 3))
    >>> found = balance(history, Split(cells=np.array([1, 0, -1])))
    >>> round(found["cells"][0]["correlation"], 6), found["control"]["share"], found["left_out"]
    (1.0, 0.35, 1)
    """
    outcome = complete_outcome(history)
    features = market_features(outcome)
    spread = np.maximum(features[split.cells >= CONTROL].std(axis=0), 1e-12)
    rows = []
    for cell in range(split.n_cells + 1):
        mine = split.cells == cell
        row = _summary(outcome, mine)
        if cell > CONTROL:
            paths = outcome[mine].mean(axis=0), outcome[split.control].mean(axis=0)
            gaps = (features[mine].mean(axis=0) - features[split.control].mean(axis=0)) / spread
            row["correlation"] = correlation(*paths)
            row["correlation_of_changes"] = correlation(*map(np.diff, paths))
            row["differences"] = dict(zip(FEATURES, gaps.tolist(), strict=True))
        rows.append(row)
    return {"control": rows[0], "cells": rows[1:], "left_out": int((split.cells < CONTROL).sum())}


FEATURES = ("mean", "trend", "volatility")
"""What :func:`market_features` says about a market."""


def market_features(outcome: FloatArray) -> FloatArray:
    """Return mean, slope per period and standard deviation of the changes of every market, shape (n_units, 3).

    With equal numbers of markets, balance in means is balance in shares of the total.
    """
    n_periods = outcome.shape[1]
    time = np.arange(n_periods) - (n_periods - 1) / 2
    slope = outcome @ time / max(float(time @ time), 1.0)
    volatility = np.diff(outcome, axis=1).std(axis=1) if n_periods > 1 else np.zeros(len(outcome))
    return np.column_stack([outcome.mean(axis=1), slope, volatility])


def correlation(left: FloatArray, right: FloatArray) -> float:
    """Return Pearson's correlation of two paths, 0 where one of them is flat."""
    left, right = left - left.mean(), right - right.mean()
    norm = float(np.sqrt((left @ left) * (right @ right)))
    return float(left @ right) / norm if norm > 0 else 0.0


def _summary(outcome: FloatArray, mine: BoolArray) -> dict[str, Any]:
    total = float(outcome.sum())
    return {
        "n_markets": int(mine.sum()),
        "mean": float(outcome[mine].mean()) if mine.any() else None,
        "share": float(outcome[mine].sum()) / total if total else None,
        "trend": float(market_features(outcome[mine]).mean(axis=0)[1]) if mine.any() else None,
    }
