"""Simulated geo readouts: nothing contradicts itself, nothing is found where nothing is, sets hold what is true.

``benchmarks/geo_readouts.py`` has the same functions at full length; its page is ``benchmarks/results/geo_readouts.md``.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

NOMINAL = 0.1


def _benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "geo_readouts.py"
    spec = importlib.util.spec_from_file_location("geo_readouts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["geo_readouts"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


geo = _benchmark()


def most(n: int, *, over: float = 0.0) -> float:
    """Nominal size, what a test's documentation allows above it, and two Monte Carlo errors."""
    return NOMINAL + over + 2 * math.sqrt(NOMINAL * (1 - NOMINAL) / n)


def judged(numbers: range) -> Counter[str]:
    total: Counter[str] = Counter()
    for i in numbers:
        total.update(geo.judge(i))
    return total


def require_no_contradiction(found: Counter[str]) -> None:
    for what in ("contradictions", "contradictions, adjusted", "contradictions, totals", "not nested"):
        assert found[what] == 0, (what, found)
    assert found["misfit not reported"] == 0
    assert found["p differs by level"] == 0


def test_no_p_value_contradicts_its_set() -> None:
    found = judged(range(12))
    assert found["readouts"] >= 8
    require_no_contradiction(found)


@pytest.mark.slow
def test_no_p_value_contradicts_its_set_in_many_readouts() -> None:
    found = judged(range(100, 300))
    assert found["readouts"] >= 150
    assert found["sets unbounded"] > 20
    require_no_contradiction(found)


@pytest.mark.parametrize("design", ["complete", "pairs", "rerandomised"])
def test_size_over_the_designs_own_draws_is_nominal_under_persistence(design: str) -> None:
    # Exact: p is the rank of the actual draw among exchangeable ones, whatever the autocorrelation; n = 400.
    n = 400
    size = geo.design_size(("did", {}), design, 0.8, n, 99)["size"]
    assert size <= most(n)


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.8])
@pytest.mark.parametrize("options", [{}, {"fixed_effects": "unit"}])
def test_size_of_synthetic_control_over_draws_is_nominal(options: dict[str, Any], rho: float) -> None:
    n = 300
    assert geo.design_size(("synthetic-control", options), "complete", rho, n, 99)["size"] <= most(n)


def test_family_of_cells_holds_its_error_while_another_cell_has_an_effect() -> None:
    # Effects of other cells are taken off at their estimates, which is approximate: a point is allowed; n = 150.
    n = 150
    found = geo.families(n, per_cell=6, n_cells=3, n_draws=99)
    for what in ("cell alone", "pair alone", "family of cells", "family of pairs"):
        assert found[what] <= most(n, over=0.01), (what, found)
    assert found["all sets hold"] >= 1 - most(n, over=0.01)


def test_two_changes_at_once_hold_their_error_while_one_has_an_effect() -> None:
    n = 150
    found = geo.two_by_two(n, n_draws=99)
    for what in ("second change alone", "interaction alone", "family of both"):
        assert found[what] <= most(n, over=0.01), (what, found)
    assert found["first change found"] == 1.0


def test_set_of_the_incremental_return_holds_the_true_one() -> None:
    n = 200
    assert geo.return_coverage(("did", {}), n, n_draws=99) >= 1 - most(n)


def test_split_ratio_is_quiet_on_clean_splits_where_a_user_level_chi_square_fires() -> None:
    # At .01: twice the tail share is a p-value, so at most 1% alarms and two Monte Carlo errors (.014 at n = 200). The
    # chi-square over users alarms in about 99% of clean 20 / 20 splits of markets of lognormal size.
    n = 200
    found = geo.split_ratios(n, n_draws=999)
    assert found["draws, tail share below 0.01"] <= 0.01 + 2 * math.sqrt(0.01 * 0.99 / n)
    assert found["chi-square over users, p below 0.01"] >= 0.95
