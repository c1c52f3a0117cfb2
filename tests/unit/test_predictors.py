"""Synthetic control on predictors and on several outcomes: what is read, what is refused, what leaves no trace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.errors import DataError, RefusalError, StudyError
from causalbench.estimators import CATALOGUE, SyntheticControl
from causalbench.estimators._predictors import predictors_of, shared_paths
from causalbench.numerics.simplex import GAP_LIMIT
from causalbench.study import Study
from causalbench.workflow.estimate import answer_study, estimate

OPTIONS = {"match": "predictors", "outcome_lags": "5,10,15..20"}


def with_covariates(panel: Panel, *, seed: int = 0) -> Panel:
    """Add a covariate that follows the outcome and one that doesn't, both with holes."""
    rng = np.random.default_rng(seed)
    cells = np.stack(
        [panel.outcome + rng.normal(size=panel.outcome.shape), rng.normal(size=panel.outcome.shape)], axis=2
    )
    cells[:, :3, 0] = np.nan
    cells[2, 4, 1] = np.nan
    return replace(panel, covariates=cells, covariate_names=("near", "far"))


@pytest.fixture(scope="module")
def panel() -> Panel:
    plain = factor_panel(n_units=9, n_periods=30, n_treated=1, n_post=6, effect=1.0, rho=0.4, seed=3)
    return with_covariates(plain)


def test_covariates_are_averaged_where_they_have_values_and_lags_where_asked(panel):
    found = predictors_of(panel, panel.outcome, 24, window=(2, 6), lags=(5, "7..9"))
    assert found.names == ("near", "far", "outcome 5", "outcome 7..9")
    averages = np.nanmean(panel.covariates[:, 1:6], axis=1)
    expected = np.column_stack([averages, panel.outcome[:, 4], panel.outcome[:, 6:9].mean(axis=1)])
    np.testing.assert_allclose(found.values, expected / expected.std(axis=0, ddof=1), rtol=1e-12)
    assert found.warnings == (
        "covariate 'far' has fewer values in 1 units than in others: u002; their averages are over what there is",
    )


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"outcome_lags": ("25",)}, RefusalError, "outcome_lags reaches to 25, the launch is at 25"),
        ({"predictor_window": (20, 26)}, RefusalError, "predictor_window reaches to 26, the launch is at 25"),
        ({"fit_window": (1, 30)}, RefusalError, "fit_window reaches to 30, the launch is at 25"),
        ({"outcome_lags": ("31",)}, DataError, "outcome_lags names 31, the periods are 1 to 30"),
        ({"fit_window": (9, 3)}, DataError, "fit_window runs from 9 back to 3"),
        ({"predictor_window": (1, 3)}, DataError, "covariate 'near' is missing in 9 units between 1 and 3: u000, "),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_periods_that_cannot_be_used_are_refused(panel, options, error, said):
    with pytest.raises(error, match=said):
        SyntheticControl(match="predictors", **options).fit(panel)


def test_nothing_to_match_on_is_refused(panel):
    bare = replace(panel, covariates=np.empty(0), covariate_names=())
    with pytest.raises(DataError, match="match = predictors has nothing to match on"):
        SyntheticControl(match="predictors").fit(bare)
    with pytest.raises(DataError, match="match = shared has no other outcome to share weights with"):
        SyntheticControl(match="shared").fit(bare)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"outcome_lags": "5"}, 'go with match = "predictors"'),
        ({"match": "predictors", "penalty": 0.1}, 'penalty goes with match = "outcomes" or "shared"'),
        ({"penalty": -1.0}, "it must be a number from 0 up"),
        ({"match": "predictors", "fit_window": [3]}, "fit_window takes a first and a last period"),
    ],
    ids=["lags", "penalty", "negative", "window"],
)
def test_options_that_contradict_each_other_are_refused(options, said):
    with pytest.raises(StudyError, match=said):
        CATALOGUE.create("synthetic-control", options)


def test_predictor_that_is_the_same_everywhere_is_said_to_be(panel):
    cells = panel.covariates.copy()
    cells[:, :, 1] = 4.2
    fit = SyntheticControl(match="predictors").fit(replace(panel, covariates=cells))
    assert "far has the same value in all units and says nothing" in fit.warnings


def test_answer_reports_importance_and_how_much_lower_the_fit_could_be(panel):
    answer = estimate(panel, "synthetic-control", inference="placebo-rank", options=OPTIONS)
    assert list(answer.detail["importance"]) == ["near", "far", "outcome 5", "outcome 10", "outcome 15..20"]
    assert sum(answer.detail["importance"].values()) == pytest.approx(1, abs=1e-12)
    assert answer.detail["fit_mspe_bound"] <= answer.detail["fit_mspe"]
    assert answer.detail["duality_gap"] <= GAP_LIMIT
    assert answer.detail["n_placebos"] == 8


def test_many_fits_equal_one_fit_each_with_its_own_launch(panel):
    estimator = SyntheticControl(match="predictors", outcome_lags=(5, 10), treated_units="each")
    launches = np.full((3, 9), 30)
    launches[0, 0], launches[1, [2, 5]], launches[2, [1, 4]] = 24, (20, 25), (22, 22)
    for row, fit in zip(launches, estimator.fit_many(panel, launches), strict=True):
        treated = np.arange(30) >= row[:, None]
        alone = estimator.fit(replace(panel, treated=treated))
        np.testing.assert_array_equal(fit.weights, alone.weights)
        assert fit.effect == alone.effect


def relabelled(panel: Panel) -> Panel:
    order = np.random.default_rng(5).permutation(len(panel.units))
    return replace(
        panel,
        outcome=panel.outcome[order],
        treated=panel.treated[order],
        covariates=panel.covariates[order],
        units=tuple(f"geo {i:02d}" for i in range(len(order))),
    )


CHANGES = {
    "names and order": (relabelled, 1.0),
    "units of the outcome, small": (lambda panel: replace(panel, outcome=1e-6 * panel.outcome), 1e-6),
    "units of the outcome, large": (lambda panel: replace(panel, outcome=1e6 * panel.outcome), 1e6),
    "units of a covariate": (lambda panel: replace(panel, covariates=panel.covariates * [1e3, 1.0]), 1.0),
    "level": (lambda panel: replace(panel, outcome=panel.outcome + 1e3), 1.0),
    "period effects": (lambda panel: replace(panel, outcome=panel.outcome + 20 * np.sin(np.arange(30))), 1.0),
}


@pytest.mark.parametrize(("change", "scale"), CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("fixed_effects", ["none", "unit"])
def test_what_must_leave_no_trace(panel, change, scale, fixed_effects):
    estimator = CATALOGUE.create("synthetic-control", {**OPTIONS, "fixed_effects": fixed_effects})
    found, expected = estimator.fit(change(panel)), estimator.fit(panel)
    assert found.effect == pytest.approx(scale * expected.effect, rel=1e-9)
    assert sorted(found.weights) == pytest.approx(sorted(expected.weights), abs=1e-9)
    assert sorted(found.diagnostics["importance"].values()) == pytest.approx(
        sorted(expected.diagnostics["importance"].values()), rel=1e-9
    )


@pytest.mark.parametrize("match", ["predictors", "shared"])
def test_conformal_inference_is_refused_where_weights_come_from_before_the_launch_alone(panel, match):
    whole = replace(panel, covariates=np.nan_to_num(panel.covariates))
    with pytest.raises(RefusalError, match=f"match = {match} takes them from before the launch alone"):
        estimate(whole, "synthetic-control", inference="conformal", options={"match": match})
    assert SyntheticControl(match=match).default_inference(whole) == "placebo-rank"


def test_shared_weights_minimise_the_standardised_gaps_of_all_outcomes(panel):
    whole = replace(panel, covariates=np.nan_to_num(panel.covariates))
    fit = SyntheticControl(match="shared").fit(whole)
    outcomes = [whole.outcome, whole.covariates[:, :, 0], whole.covariates[:, :, 1]]
    scaled = []
    for outcome in outcomes:
        about = outcome[:, :24] - np.median(outcome[:, :24], axis=0)
        scaled.append(about / np.sqrt((about**2).mean()))
    joined = np.hstack(scaled)
    gap = joined[0] - fit.weights @ joined
    gradient = -joined[1:] @ gap
    assert fit.weights[1:] @ gradient - gradient.min() <= GAP_LIMIT * (gap @ gap)


def test_shared_weights_need_every_cell_before_the_launch(panel):
    with pytest.raises(DataError, match="covariate 'near' is missing in 9 units between 1 and 24: u000, "):
        shared_paths(panel, 24, centred=False)


@pytest.mark.parametrize("fixed_effects", ["none", "unit"])
@pytest.mark.parametrize("penalty", [None, "auto"])
def test_metrics_of_a_study_share_their_weights(tmp_path, panel, fixed_effects, penalty):
    rng = np.random.default_rng(1)
    rows = [
        {"city": unit, "week": week, "sales": value, "visits": 3 * value + rng.normal(), "calls": rng.normal()}
        for unit, path in zip(panel.units, panel.outcome, strict=True)
        for week, value in zip(panel.periods, path, strict=True)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    metrics = "".join(f'[[metric]]\nname = "{name.upper()}"\ncolumn = "{name}"\n' for name in ("sales", "visits"))
    (tmp_path / "study.toml").write_text(
        '[study]\nname = "shared"\nquestion = "?"\ndecision = "!"\n'
        '[data]\nsource = "table.csv"\nunit = "city"\nperiod = "week"\ncovariates = ["sales", "visits", "calls"]\n'
        f'{metrics}[launch]\nunits = ["u000"]\nstart = 25\nassignment = "chosen"\n'
        '[method]\nname = "synthetic-control"\ninference = "placebo-rank"\n'
        f'[method.options]\nmatch = "shared"\nfixed_effects = "{fixed_effects}"\n'
        + (f'penalty = "{penalty}"\n' if penalty else "")
    )
    study = Study.load(tmp_path / "study.toml")
    sales, visits = (answer_study(study, metric).estimate for metric in study.metric)
    assert sales.weights == visits.weights
    assert sales.value != visits.value
