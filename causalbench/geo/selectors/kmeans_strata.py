"""Strata found by k-means on what markets look like before the test, and the cells drawn within them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from causalbench.geo.constraints import Constraints
from causalbench.geo.selection import market_features
from causalbench.geo.selectors._randomized import Randomized
from causalbench.geo.selectors._strata import merged
from causalbench.values import BoolArray, FloatArray, IntArray

_SEED = 0
"""Strata are part of the design: they may not depend on the seed of the draws."""

_N_STARTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class KmeansStrata(Randomized):
    r"""Draw treated markets within clusters of similar markets.

    Markets are clustered by k-means (Lloyd 1982, IEEE Transactions on Information Theory 28, 129-137; best of ten starts with
    a fixed seed) on mean, trend and volatility before the test, each divided by its standard deviation over the markets.
    Clusters are numbered by their mean outcome, and those with fewer markets than cells are joined to the next larger one.
    Within them cells are drawn like in ``stratified``.

    Attributes
    ----------
    n_strata
        Number of clusters.

    Notes
    -----
    Names and the order of the markets change nothing. When not to use it: where one market is many times the size of all
    others it becomes a cluster of its own, and joins a stratum of markets that are unlike it; ``busy`` leaves it out.

    Examples
    --------
    >>> import numpy as np
    >>> from causalbench.data.panel import Panel
    >>> from causalbench.study.geo_study import Geo
    >>> rng = np.random.default_rng(0)
    >>> outcome = np.repeat([100.0, 900.0], 4)[:, None] * rng.lognormal(sigma=0.1, size=(8, 30)).cumsum(axis=1)
    >>> history = Panel(outcome=outcome, treated=outcome < 0, units=tuple("abcdefgh"), periods=tuple(range(30)))
    >>> limits = Constraints.compile(Geo(market_counts=(4,)), history)
    >>> split = KmeansStrata(n_strata=2).propose(history, limits, durations=(7,), rng=rng)[0].split
    >>> split.cells[:4].tolist().count(1), split.cells[4:].tolist().count(1)
    (2, 2)
    """

    summary: ClassVar[str] = "randomised within clusters of markets that look alike before the test"
    randomized: ClassVar[bool] = True

    n_strata: Annotated[int, Field(ge=1, le=1_000)] = 4

    def strata_of(self, limits: Constraints, outcome: FloatArray, members: BoolArray) -> IntArray:
        """Return the stratum of every market, -1 for those that aren't members; shape (n_units,)."""
        from sklearn.cluster import KMeans

        features = market_features(outcome[members])
        spread = features.std(axis=0)
        features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        n_clusters = min(self.n_strata, len(np.unique(features, axis=0)))
        found = KMeans(n_clusters=n_clusters, n_init=_N_STARTS, random_state=_SEED).fit(features)
        # Clusters are numbered by size, so that a small one joins its likes.
        rank = np.argsort(np.argsort(found.cluster_centers_[:, 0], kind="stable"), kind="stable")
        strata = np.full(len(members), -1)
        strata[members] = rank[found.labels_]
        return merged(strata, limits.n_cells + 1)
