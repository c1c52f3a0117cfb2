"""The two-way coefficient is the weighted sum of its comparisons, exactly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from causalbench.numerics.two_way_decomposition import FORBIDDEN, TwoWayDecomposition, decompose_two_way

LAUNCHES = {
    "with never treated": [3, 3, 5, 6, 6, 6, 8, 8],
    "without never treated": [2, 2, 4, 4, 7],
    "one launch date": [4, 4, 4, 8, 8],
    "with always treated": [0, 0, 3, 5, 5, 8],
    "always and later only": [0, 4, 4, 0, 6],
}
N_PERIODS = 8


def draw(name: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return outcome (n_units, n_periods), with effects that grow, and first treated periods."""
    rng, first = np.random.default_rng(seed), np.repeat(LAUNCHES[name], 3)
    since = np.arange(N_PERIODS) - first[:, None]
    outcome = rng.normal(size=(len(first), N_PERIODS)) + np.where(since >= 0, 1 + 0.5 * since, 0.0)
    return outcome, first


def decomposition(outcome: np.ndarray, first: np.ndarray) -> TwoWayDecomposition:
    launches, codes, counts = np.unique(first, return_inverse=True, return_counts=True)
    means = np.array([outcome[codes == code].mean(axis=0) for code in range(len(launches))])
    return decompose_two_way(means, counts, launches)


def regression(outcome: np.ndarray, first: np.ndarray) -> float:
    from linearmodels.panel import PanelOLS

    n_units = len(outcome)
    table = pd.DataFrame(
        {"y": outcome.ravel(), "d": (np.arange(N_PERIODS) >= first[:, None]).astype(float).ravel()},
        index=pd.MultiIndex.from_product([range(n_units), range(N_PERIODS)]),
    )
    return float(PanelOLS(table["y"], table[["d"]], entity_effects=True, time_effects=True).fit().params["d"])


@pytest.mark.parametrize("name", LAUNCHES)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_weighted_sum_is_the_regression(name: str, scale: float) -> None:
    outcome, first = draw(name)
    found = decomposition(scale * outcome, first)
    assert found.coefficient == pytest.approx(scale * regression(outcome, first), rel=1e-10)
    assert sum(c.weight for c in found.comparisons) == pytest.approx(1, abs=1e-12)
    assert all(c.weight > 0 for c in found.comparisons)


@pytest.mark.parametrize("name", LAUNCHES)
def test_every_comparison_is_a_regression_on_its_two_cohorts_and_window(name: str) -> None:
    outcome, first = draw(name)
    launches = np.unique(first)
    for c in decomposition(outcome, first).comparisons:
        own, other = launches[c.cohort], launches[c.comparison]
        window = slice(other, None) if c.kind in FORBIDDEN else slice(0, other)
        gap = (outcome[first == own].mean(axis=0) - outcome[first == other].mean(axis=0))[window]
        after = np.arange(N_PERIODS)[window] >= own
        assert c.estimate == pytest.approx(gap[after].mean() - gap[~after].mean(), rel=1e-9, abs=1e-12)


def test_kinds_are_named_by_who_serves_as_control() -> None:
    kinds = {name: {c.kind for c in decomposition(*draw(name)).comparisons} for name in LAUNCHES}
    assert kinds == {
        "with never treated": {"treated-vs-never", "earlier-vs-later", "later-vs-earlier"},
        "without never treated": {"earlier-vs-later", "later-vs-earlier"},
        "one launch date": {"treated-vs-never"},
        "with always treated": {"treated-vs-never", "earlier-vs-later", "later-vs-earlier", "later-vs-always"},
        "always and later only": {"earlier-vs-later", "later-vs-earlier", "later-vs-always"},
    }


def test_unit_and_period_effects_change_nothing() -> None:
    outcome, first = draw("with never treated")
    shifted = outcome + 1e4 * np.random.default_rng(1).normal(size=(len(first), 1)) + 100 * np.arange(N_PERIODS)
    plain, moved = decomposition(outcome, first), decomposition(shifted, first)
    for a, b in zip(plain.comparisons, moved.comparisons, strict=True):
        assert (a.kind, a.cohort, a.comparison, a.weight) == (b.kind, b.cohort, b.comparison, b.weight)
        assert a.estimate == pytest.approx(b.estimate, abs=1e-8)


def test_growing_effects_turn_the_two_way_coefficient_below_every_true_effect() -> None:
    first = np.repeat([2, 6], 5)
    since = np.arange(N_PERIODS) - first[:, None]
    found = decomposition(np.where(since >= 0, 1.0 + since, 0.0), first)
    assert found.coefficient < 1  # every true effect is 1 or more
    assert found.allowed_coefficient == pytest.approx(2.5)  # periods 2 to 5 of the early cohort: 1, 2, 3, 4
    (forbidden,) = (c for c in found.comparisons if c.kind == "later-vs-earlier")
    assert forbidden.estimate == pytest.approx(
        1.5 - 3.0
    )  # own effects 1 and 2, less the growth of the other's from 2.5 to 5.5


def test_kinds_add_up() -> None:
    found = decomposition(*draw("with always treated"))
    assert sum(weight for weight, _ in found.by_kind().values()) == pytest.approx(1)
    assert sum(w * value for w, value in found.by_kind().values()) == pytest.approx(found.coefficient)
    share = sum(found.by_kind()[kind][0] for kind in FORBIDDEN)
    assert found.forbidden_share == pytest.approx(share)


def test_order_of_cohorts_does_not_matter() -> None:
    means, counts, launches = np.random.default_rng(0).normal(size=(3, 8)), np.array([2, 3, 4]), np.array([2, 5, 8])
    turned = decompose_two_way(means[::-1], counts[::-1], launches[::-1])
    assert turned.coefficient == pytest.approx(decompose_two_way(means, counts, launches).coefficient)


@pytest.mark.parametrize("launches", [[8], [0, 8]])
def test_nothing_to_compare_is_refused(launches: list[int]) -> None:
    with pytest.raises(ValueError, match="no two cohorts differ"):
        decompose_two_way(np.zeros((len(launches), 8)), np.ones(len(launches), dtype=int), np.array(launches))
