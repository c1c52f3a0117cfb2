"""Complete randomisation, drawn again until the cells are balanced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from causalbench.geo.constraints import Constraints
from causalbench.geo.selection import market_features
from causalbench.geo.selectors._randomized import Randomized
from causalbench.geo.selectors._strata import Accept, Strata
from causalbench.geo.split import CONTROL
from causalbench.values import BoolArray, FloatArray, IntArray

_SEED = 0
"""The limit of balance is part of the design: it may not depend on the seed of the draws."""

_N_REFERENCE = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerandomized(Randomized):
    r"""Draw among all splits of these numbers, keeping those that are best balanced before the test.

    A split's imbalance is the largest over the cells k of the Mahalanobis distance

    .. math:: M_k = (\bar f_k - \bar f_0)' \Bigl[\bigl(\tfrac1{n_k} + \tfrac1{n_0}\bigr) S\Bigr]^{-1} (\bar f_k - \bar f_0)

    between the mean features of cell and controls (Morgan and Rubin 2012, Annals of Statistics 40, 1263-1282, equation 1),
    with S the covariance of the features over the markets. Features are mean, trend and volatility; balance in means is balance
    in the share of the total per market. A draw is kept when its imbalance is at most the ``acceptance`` quantile of 4,000
    admissible draws with a fixed seed, so that the limit is the same at every call: tests by re-assignment must draw under
    the same limit, and :meth:`draws` does.

    Attributes
    ----------
    acceptance
        Share of the admissible splits that is kept. A smaller share balances better and leaves fewer splits to test with.

    Notes
    -----
    Names and the order of the markets change nothing. Call :meth:`draws` with the history that the split was proposed for: the
    limit comes from it.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.data.panel import Panel
    >>> from causalbench.study.geo_study import Geo
    >>> rng = np.random.default_rng(0)
    >>> outcome = np.arange(1.0, 9.0)[:, None] * 100 + rng.normal(size=(8, 30))
    >>> history = Panel(outcome=outcome, treated=outcome < 0, units=tuple("abcdefgh"), periods=tuple(range(30)))
    >>> limits = Constraints.compile(Geo(market_counts=(4,)), history)
    >>> design = Rerandomized(acceptance=0.2)
    >>> split = design.propose(history, limits, durations=(7,), rng=rng)[0].split
    >>> design.n_admissible(history, limits, split, rng=rng).value < 70 / 3
    True
    """

    summary: ClassVar[str] = "randomised among the splits that are best balanced before the test"
    randomized: ClassVar[bool] = True

    acceptance: Annotated[float, Field(gt=0.001, le=1)] = 0.1

    def strata_of(self, limits: Constraints, outcome: FloatArray, members: BoolArray) -> IntArray:
        """Return one stratum of all members; shape (n_units,)."""
        return np.where(members, 0, -1)

    def acceptance_rule(self, strata: Strata, outcome: FloatArray) -> Accept | None:
        """Return the rule by which draws are kept: the imbalance is at most the quantile of a fixed reference sample."""
        features = market_features(outcome)
        mine = features[strata.strata >= 0]
        inverse = np.linalg.pinv(np.atleast_2d(np.cov(mine, rowvar=False)), hermitian=True)
        n_cells = strata.limits.n_cells
        reference = strata.sample(_N_REFERENCE, np.random.default_rng(_SEED))
        limit = float(np.quantile(imbalances(reference, features, inverse, n_cells), self.acceptance, method="higher"))

        def accept(cells: IntArray) -> BoolArray:
            balanced: BoolArray = imbalances(cells, features, inverse, n_cells) <= limit * (1 + 1e-9)
            return balanced

        return accept


def imbalances(cells: IntArray, features: FloatArray, inverse: FloatArray, n_cells: int) -> FloatArray:
    """Return the largest Mahalanobis distance of a cell's mean features to the controls', shape (n_splits,).

    Parameters
    ----------
    cells
        Complete splits, shape (n_splits, n_units).
    features
        Shape (n_units, n_features).
    inverse
        Inverse covariance of the features, shape (n_features, n_features).
    n_cells
        Number of treated cells.
    """
    controls = cells == CONTROL
    n_controls = np.maximum(controls.sum(axis=1), 1)
    plain = controls @ features / n_controls[:, None]
    distances = np.zeros((n_cells, len(cells)))
    for k in range(n_cells):
        mine = cells == k + 1
        n_mine = np.maximum(mine.sum(axis=1), 1)
        gap = mine @ features / n_mine[:, None] - plain
        distances[k] = ((gap @ inverse) * gap).sum(axis=1) / (1 / n_mine + 1 / n_controls)
    largest: FloatArray = distances.max(axis=0)
    return largest
