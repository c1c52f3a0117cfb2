"""Coverage of credible intervals in cells of the committed table, and their width beside R's priors."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REPEATS = 400


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bsts_coverage", ROOT / "benchmarks" / "bsts_coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def monte_carlo_error(share: float, repeats: int) -> float:
    return math.sqrt(share * (1 - share) / repeats)


CELLS = [
    ("iid", "stationary", 3, 0.93),
    ("iid", "walk", 1, 0.93),
    ("ar", "stationary", 1, 0.90),
    ("walk", "walk", 10, 0.90),
]


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "kind", "n_controls", "least"), CELLS)
def test_intervals_cover(bench: ModuleType, noise: Any, kind: Any, n_controls: int, least: float) -> None:
    coverage, _ = bench.measure("none", noise, kind, n_controls, REPEATS)
    assert coverage >= least - 2 * monte_carlo_error(least, REPEATS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stationary", "walk"])
def test_intervals_are_not_much_wider_than_r_where_r_covers(bench: ModuleType, kind: Any) -> None:
    (_, ours), (_, theirs) = (bench.measure(compat, "iid", kind, 3, 100) for compat in ("none", "r"))
    assert ours <= 1.3 * theirs


def test_priors_of_r_cover_too_little_under_autocorrelation(bench: ModuleType) -> None:
    repeats = 60
    ours, _ = bench.measure("none", "ar", "stationary", 1, repeats)
    theirs, _ = bench.measure("r", "ar", "stationary", 1, repeats)
    assert ours >= 0.90 - 2 * monte_carlo_error(0.90, repeats)
    assert theirs <= 0.63 + 3 * monte_carlo_error(
        0.63, repeats
    )  # .63 with R itself, which is why there are two regimes
