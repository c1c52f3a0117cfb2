"""GeoLift's published market selection: six rows, all columns."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from causalbench.data.panel import Panel
from causalbench.geo.geolift import COLUMNS, PUBLISHED, alike_sets, parity_rows, walkthrough

TABLE = [  # GeoLift 2.7.5 walkthrough, GeoLiftMarketSelection, first six rows as printed
    ("chicago, cincinnati, houston, portland", 15, 0.05, 0.1971864, 74118.38, 159.3627, 0.04829913, 0.07576405, 0.002),
    ("chicago, portland", 15, 0.10, 0.1738778, 64563.75, 290.0071, 0.10117316, 0.03306537, 0.001),
    ("chicago, cincinnati, houston, portland", 10, 0.10, 0.1966996, 99027.75, 316.6204, 0.09552879, 0.07576405, 0.004),
    ("chicago, portland", 10, 0.10, 0.1682310, 43646.25, 300.9401, 0.10378013, 0.03306537, 0.004),
    ("chicago, houston, portland", 10, 0.10, 0.2305628, 75389.25, 350.3142, 0.10502968, 0.05797087, 0.005),
    (
        "chicago, cincinnati, houston, nashville, san diego",
        *(15, 0.05, 0.2699167, 95755.50, 146.7975, 0.04282215, 0.09801138, 0.007),
    ),
]
RANKS = [1, 1, 3, 3, 5, 6]  # the same table


@pytest.fixture(scope="module")
def pretest(reference: Path) -> Panel:
    table = pd.read_csv(reference / "geo" / "geolift_pretest.csv")
    wide = table.pivot(index="location", columns="date", values="Y").astype(float)
    outcome = wide.to_numpy()
    return Panel(outcome=outcome, treated=outcome < 0, units=tuple(wide.index), periods=tuple(range(wide.shape[1])))


def test_there_are_33_candidates(pretest: Panel) -> None:
    sets = alike_sets(pretest, [2, 3, 4, 5], include=["chicago"], exclude=["honolulu"])
    assert len(sets) == 33  # the walkthrough's 330 cells: 33 sets, 2 durations, 5 effects


@pytest.mark.parametrize("place", range(6))
def test_row_of_the_walkthrough(pretest: Panel, place: int) -> None:
    names, duration, effect, *values = TABLE[place]
    row = walkthrough(pretest)[place]
    assert (", ".join(row.markets), row.duration, row.effect) == (names, duration, effect)
    assert row.rank == RANKS[place]
    for column, published in zip(COLUMNS, values, strict=True):
        assert getattr(row, column) == pytest.approx(published, rel=1e-6)


def test_parity_rows_carry_the_published_numbers(pretest: Panel) -> None:
    rows = parity_rows(pretest)
    assert [(name, duration, effect, *values) for name, duration, effect, values in PUBLISHED] == TABLE
    assert len(rows) == 36
    assert max(row["rel_difference"] for row in rows) <= 1e-6
