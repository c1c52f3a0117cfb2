"""Strata of markets of similar size, and the cells drawn within them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from causalbench.errors import DataError
from causalbench.geo.constraints import Constraints
from causalbench.geo.selectors._randomized import Randomized
from causalbench.geo.selectors._strata import merged
from causalbench.values import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratified(Randomized):
    r"""Draw treated markets within strata by size, and by a column of the markets table.

    Markets are sorted by mean outcome and cut into ``n_strata`` groups of equal number within every value of ``column``;
    strata with fewer markets than cells are joined to the one before. Each stratum gives every cell its part of
    ``market_counts``, by largest remainders, and the markets of the cells are drawn uniformly among all assignments with
    these numbers that the constraints admit. Under such a draw the difference of means within strata is unbiased for the
    average effect without any model of the outcome (Imbens and Rubin 2015, Causal Inference, chapter 9).

    Attributes
    ----------
    n_strata
        Number of groups by size within each value of the column.
    column
        Column of the markets table, such as a region; None: by size only.

    Notes
    -----
    Names and the order of the markets change nothing. Markets that may be in one cell only (excluded, included) keep it in every
    draw. When not to use it: with fewer than about ten treated markets, matched pairs compare likes more closely.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.data.panel import Panel
    >>> from causalbench.study.geo_study import Geo
    >>> rng = np.random.default_rng(0)
    >>> outcome = np.arange(1.0, 9.0)[:, None] * 100 + rng.normal(size=(8, 30))
    >>> history = Panel(outcome=outcome, treated=outcome < 0, units=tuple("abcdefgh"), periods=tuple(range(30)))
    >>> limits = Constraints.compile(Geo(market_counts=(4,)), history)
    >>> design = Stratified(n_strata=2)
    >>> split = design.propose(history, limits, durations=(7,), rng=rng)[0].split
    >>> split.strata.tolist().count(0), split.cells[:4].tolist().count(1), split.cells[4:].tolist().count(1)
    (4, 2, 2)
    >>> design.n_admissible(history, limits, split, rng=rng)
    Count(value=36.0, exact=True)
    """

    summary: ClassVar[str] = "randomised within strata of markets of similar size"
    randomized: ClassVar[bool] = True

    n_strata: Annotated[int, Field(ge=1, le=1_000)] = 4
    column: str | None = None

    def strata_of(self, limits: Constraints, outcome: FloatArray, members: BoolArray) -> IntArray:
        """Return the stratum of every market, -1 for those that aren't members; shape (n_units,).

        Raises
        ------
        DataError
            When ``column`` is given and there is no table of markets.
        """
        groups = np.zeros(len(members), dtype=np.int64)
        if self.column is not None:
            if limits.markets is None:
                raise DataError(
                    f"column {self.column!r} of the strata needs the table of markets",
                    remedy="name it under [geo] markets",
                )
            groups = np.unique(np.array(limits.markets.column(self.column), dtype=object), return_inverse=True)[1]
        sizes = outcome.mean(axis=1)
        strata = np.full(len(members), -1)
        for group in np.unique(groups[members]):
            mine = np.flatnonzero(members & (groups == group))
            ranks = np.argsort(np.argsort(-sizes[mine], kind="stable"), kind="stable")
            strata[mine] = group * self.n_strata + ranks * self.n_strata // len(mine)
        ordered = np.unique(strata[members], return_inverse=True)[1]
        strata[members] = ordered
        return merged(strata, limits.n_cells + 1)
