"""Where a phased rollout can't carry an inference or a covariate, and what its totals are about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.data.simulate import staggered_panel
from causalbench.errors import RefusalError
from causalbench.report.figures import effect_path
from causalbench.workflow.estimate import estimate

REGRESSIONS = ["imputation", "sun-abraham", "extended-two-way", "stacked"]


def without_never(dates: dict[int, int], *, seed: int = 0) -> Panel:
    """Draw units that all launch sooner or later, so many at each index of a period."""
    first = np.repeat(list(dates), list(dates.values()))
    rng = np.random.default_rng(seed)
    return Panel(
        outcome=10 + rng.normal(size=(len(first), 1)) + rng.normal(size=(len(first), 10)),
        treated=np.arange(10) >= first[:, None],
        units=tuple(f"u{i:03d}" for i in range(len(first))),
        periods=tuple(range(1, 11)),
    )


@pytest.mark.parametrize("dates", [{3: 2, 7: 30}, {3: 15, 5: 15, 9: 2}])
def test_last_cohort_counts_as_the_controls_that_it_is(dates: dict[int, int]) -> None:
    # With every later unit counted as a control these designs rejected a true null at 5% in 21 to 29% of draws.
    panel = without_never(dates)
    assert min(panel.n_treated_clusters, panel.n_control_clusters) == 2
    for method in REGRESSIONS:
        with pytest.raises(RefusalError, match="need 5 treated and 5 control units"):
            estimate(panel, method)
    assert estimate(panel, "group-time", options={"control": "not_yet_treated"}).inference == "permutation"


@pytest.mark.parametrize("method", REGRESSIONS)
def test_relative_effect_is_about_the_cells_that_have_one(method: str) -> None:
    panel = without_never({4: 30, 7: 30}, seed=1)
    rising = replace(panel, outcome=panel.outcome + 100.0 * (np.arange(10) >= 7))
    answer = estimate(rising, method)
    assert answer.detail["counterfactual_mean"] == pytest.approx(10, abs=1)
    assert answer.detail["relative"] == pytest.approx(answer.value / answer.detail["counterfactual_mean"])


def test_path_with_an_empty_period_can_be_drawn() -> None:
    panel = staggered_panel(n_units=60, n_periods=9, launches=(4,), n_never=30, effect=1.0, rho=0.2, seed=2)
    outcome = panel.outcome.copy()
    outcome[panel.ever_treated, 6] = np.nan
    answer = estimate(replace(panel, outcome=outcome), "imputation", on_missing="keep").to_dict()
    assert None in answer["path"]["effect"]
    launches = [[5, 30]]
    evidence = {"estimates": [answer], "audits": {"outcome": {"launches": launches}}, "checks": {"outcome": []}}
    assert "<svg" in effect_path.draw(evidence, "outcome").svg


def test_a_slope_per_covariate_needs_units_in_every_cohort() -> None:
    panel = staggered_panel(n_units=52, n_periods=8, launches=(3, 5), n_never=40, effect=1.0, rho=0.2, seed=3)
    names = ("a", "b", "c")
    values = np.repeat(np.random.default_rng(3).normal(size=(52, 1, 3)), 8, axis=1)
    with pytest.raises(
        RefusalError, match=r"3 covariates needs 24 units in every cohort; these have fewer: 4 \(6\), 6 \(6\)"
    ):
        estimate(replace(panel, covariates=values, covariate_names=names), "extended-two-way")


def test_triple_differences_count_the_eligible_and_refuse_few_of_them(tmp_path: Path) -> None:
    panel = staggered_panel(n_units=80, n_periods=8, launches=(4,), n_never=40, effect=1.0, rho=0.2, seed=4)
    order = np.argsort(~panel.ever_treated, kind="stable")
    eligible = np.zeros(80)
    eligible[order[:20]] = eligible[order[40:60]] = 1.0
    named = replace(panel, covariates=np.repeat(eligible[:, None, None], 8, axis=1), covariate_names=("eligible",))
    answer = estimate(named, "triple-differences", options={"partition": "eligible"})
    assert answer.n_treated == 20
    assert answer.inference == "cluster"
    eligible[order[3:20]] = 0.0
    few = replace(named, covariates=np.repeat(eligible[:, None, None], 8, axis=1))
    for inference in (None, "cluster"):
        with pytest.raises(RefusalError, match="too few clusters") as caught:
            estimate(few, "triple-differences", inference=inference, options={"partition": "eligible"})
        assert "permutation" in caught.value.remedy
