"""Candidate sets of markets by correlation, as GeoLift forms them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causalbench.data.panel import Panel
from causalbench.geo.constraints import Constraints
from causalbench.geo.fit_error import FitError
from causalbench.geo.selectors.search import candidates
from causalbench.study.geo_study import Geo


@pytest.fixture(scope="module")
def pretest(reference: Path) -> Panel:
    table = pd.read_csv(reference / "geo" / "geolift_pretest.csv")
    wide = table.pivot_table(index="location", columns="date", values="Y", aggfunc="sum")
    outcome = wide.to_numpy(dtype=float)
    return Panel(outcome=outcome, treated=outcome < 0, units=tuple(wide.index), periods=tuple(range(outcome.shape[1])))


def test_walkthrough_has_33_candidates(pretest: Panel) -> None:
    # GeoLift 2.7.5 walkthrough: 330 cells over 2 durations and 5 effects (reference manifest, geo/market selection).
    limits = Constraints.compile(Geo(include=("chicago",), exclude=("honolulu",), market_counts=(2, 3, 4, 5)), pretest)
    assert len(candidates(pretest, limits, (2, 3, 4, 5))) * 2 * 5 == 330


@pytest.mark.parametrize(
    ("markets", "duration", "scaled_l2"),
    [  # Reference manifest, geo, rows of the market selection.
        (("chicago", "cincinnati", "houston", "portland"), 15, 0.1971864),
        (("chicago", "portland"), 15, 0.1738778),
        (("chicago", "portland"), 10, 0.1682310),
        (("chicago", "houston", "portland"), 10, 0.2305628),
        (("chicago", "cincinnati", "houston", "nashville", "san diego"), 15, 0.2699167),
    ],
)
def test_scaled_imbalance_is_geolifts(
    pretest: Panel, markets: tuple[str, ...], duration: int, scaled_l2: float
) -> None:
    treated = np.isin(pretest.units, markets)[None]
    found = FitError.of(pretest.outcome[:, :-duration]).of_sets(treated, ~treated).scaled_l2[0]
    assert found == pytest.approx(scaled_l2, rel=1e-6)
