"""CausalImpact's call: vignettes run, tables have the ports' names, and every printed number comes from the draws."""

import datetime as dt
import json
import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import causalbench as cb
from causalbench import CausalImpact
from causalbench.errors import CausalbenchError, DataError, StudyError
from causalbench.facade.causal_impact import COVERAGE

PRE, POST = [0, 69], [70, 99]

# impact$series and impact$summary of R's CausalImpact 1.4.1, with underscores for the dots of the former.
R_SERIES = [
    *("response", "cum_response"),
    *("point_pred", "point_pred_lower", "point_pred_upper", "cum_pred", "cum_pred_lower", "cum_pred_upper"),
    *("point_effect", "point_effect_lower", "point_effect_upper", "cum_effect", "cum_effect_lower", "cum_effect_upper"),
]
R_SUMMARY = [
    *("Actual", "Pred", "Pred.lower", "Pred.upper", "Pred.sd"),
    *("AbsEffect", "AbsEffect.lower", "AbsEffect.upper", "AbsEffect.sd"),
    *("RelEffect", "RelEffect.lower", "RelEffect.upper", "RelEffect.sd", "alpha", "p"),
]
# Columns of `inferences` in tfcausalimpact 0.0.19 and pycausalimpact 0.1.1, rows of their `summary_data`.
TF_COLUMNS = [
    *("complete_preds_means", "complete_preds_lower", "complete_preds_upper"),
    *("post_preds_means", "post_preds_lower", "post_preds_upper"),
    *("post_cum_y", "post_cum_preds_means", "post_cum_preds_lower", "post_cum_preds_upper"),
    *("point_effects_means", "point_effects_lower", "point_effects_upper"),
    *("post_cum_effects_means", "post_cum_effects_lower", "post_cum_effects_upper"),
]
PY_COLUMNS = [
    *("post_cum_y", "preds", "preds_lower", "preds_upper", "post_preds", "post_preds_lower", "post_preds_upper"),
    *("post_cum_pred", "post_cum_pred_lower", "post_cum_pred_upper"),
    *("point_effects", "point_effects_lower", "point_effects_upper"),
    *("post_cum_effects", "post_cum_effects_lower", "post_cum_effects_upper"),
]
SUMMARY_DATA = [
    *("actual", "predicted", "predicted_lower", "predicted_upper"),
    *("abs_effect", "abs_effect_lower", "abs_effect_upper", "rel_effect", "rel_effect_lower", "rel_effect_upper"),
]
NOISES = ("independent", "AR(.7)", "random walk")
# The rows that R 1.4.1 and tfcausalimpact 0.0.19 print, in their order.
LABELS = [
    "Actual",
    "Prediction (s.d.)",
    "95% CI",
    "Absolute effect (s.d.)",
    "95% CI",
    "Relative effect (s.d.)",
    "95% CI",
    "Posterior tail-area probability p:",
    "Posterior prob. of a causal effect:",
]


def vignette(effect=10.0):
    """Data-generating process of the vignette of R's CausalImpact: AR(.999) control about 100, slope 1.2, effect 10."""
    rng = np.random.default_rng(1)
    x = np.zeros(100)
    for t, shock in enumerate(rng.normal(size=100)):
        x[t] = 0.999 * x[t - 1] + shock
    y = 1.2 * (100 + x) + rng.normal(size=100)
    y[70:] += effect
    return pd.DataFrame({"y": y, "x1": 100 + x})


def by_date():
    return vignette().set_index(pd.date_range("2014-01-01", periods=100))


@pytest.fixture(scope="module")
def impact():
    return CausalImpact(vignette(), PRE, POST)


# The call


def test_vignette_of_r_runs_and_finds_the_effect(impact):
    average = impact.table.loc["Average"]
    assert average["AbsEffect.lower"] < 10 < average["AbsEffect.upper"]
    assert average["AbsEffect"] == pytest.approx(10, abs=1)


def test_calls_of_every_port_run_and_agree(impact):
    calls = [
        CausalImpact(vignette().to_numpy(), PRE, POST),
        CausalImpact(vignette(), tuple(PRE), np.array(POST), None, 0.05),
        CausalImpact(vignette(), PRE, POST, model_args={"niter": 1000, "standardize_data": np.True_, "nseasons": 1}),
        CausalImpact(vignette(), PRE, POST, model_args={"season.duration": 1, "dynamic.regression": False}),
        CausalImpact(vignette(), PRE, POST, nseasons=[], standardize=True, prior_level_sd=None),
        CausalImpact(by_date(), ["2014-01-01", "2014-03-11"], ["2014-03-12", "2014-04-10"]),
        CausalImpact(by_date(), ["20140101", "20140311"], ["20140312", "20140410"]),
        CausalImpact(by_date(), [pd.Timestamp("2014-01-01"), pd.Timestamp("2014-03-11")], ["2014-03-12", "2014-04-10"]),
        CausalImpact(
            by_date().rename_axis("date").reset_index(), ["2014-01-01", "2014-03-11"], ["2014-03-12", "2014-04-10"]
        ),
        CausalImpact(
            by_date().set_axis(by_date().index.strftime("%Y-%m-%d")),
            ["2014-01-01", "2014-03-11"],
            ["2014-03-12", "2014-04-10"],
        ),
        CausalImpact(
            by_date().set_axis(by_date().index.to_period("D")),
            ["2014-01-01", "2014-03-11"],
            ["2014-03-12", "2014-04-10"],
        ),
        CausalImpact(
            pl.DataFrame(by_date().rename_axis("date").reset_index()),
            ["2014-01-01", "2014-03-11"],
            ["2014-03-12", "2014-04-10"],
        ),
        CausalImpact(pa.Table.from_pandas(vignette(), preserve_index=False), PRE, POST),
        CausalImpact(
            by_date().tz_localize("Europe/Berlin"),
            ["2014-01-01", "2014-03-11"],
            [dt.date(2014, 3, 12), dt.date(2014, 4, 10)],
        ),
        CausalImpact(by_date().iloc[::-1], ["2014-01-01", "2014-03-11"], ["2014-03-12", "2014-04-10"]),
    ]
    for call in calls:
        call.run()
        pd.testing.assert_frame_equal(call.table, impact.table)
        assert str(call.summary(output="report")).startswith("Analysis report {CausalImpact}")


def test_series_without_controls_is_continued_from_its_past():
    found = CausalImpact(vignette()["y"], PRE, POST)
    assert found.inclusion_probability == {}
    assert np.isfinite(found.table.loc["Average", "AbsEffect"])


def test_data_are_left_as_they_were():
    given = by_date().rename_axis("date").reset_index()
    before = given.copy(deep=True)
    CausalImpact(given, ["2014-01-01", "2014-03-11"], ["2014-03-12", "2014-04-10"])
    pd.testing.assert_frame_equal(given, before)


def test_seed_fixes_the_numbers(impact):
    again = CausalImpact(vignette(), PRE, POST)
    pd.testing.assert_frame_equal(again.inferences, impact.inferences)
    assert not CausalImpact(vignette(), PRE, POST, seed=1).table.equals(impact.table)


# The tables


def test_tables_have_the_names_of_r_and_of_the_ports(impact):
    assert list(impact.series.columns) == R_SERIES
    assert list(impact.table.columns) == R_SUMMARY
    assert list(impact.table.index) == ["Average", "Cumulative"]
    assert set(R_SERIES + TF_COLUMNS + PY_COLUMNS) == set(impact.inferences.columns)
    assert impact.inferences.columns.is_unique
    assert list(impact.summary_data.index) == SUMMARY_DATA
    assert list(impact.summary_data.columns) == ["average", "cumulative"]


def test_summary_table_is_what_the_draws_say(impact):
    response, draws = vignette()["y"].to_numpy()[70:], impact.fit.posterior.draws[:, 70:]
    total, counterfactual = response.sum(), draws.sum(axis=1)
    row = impact.table.loc["Cumulative"]
    assert row["Actual"] == pytest.approx(total, rel=1e-12)
    assert row["Pred"] == pytest.approx(counterfactual.mean(), rel=1e-12)
    assert row["Pred.sd"] == pytest.approx(counterfactual.std(ddof=1), rel=1e-9)
    assert [row["Pred.lower"], row["Pred.upper"]] == pytest.approx(
        np.quantile(counterfactual, [0.025, 0.975]), rel=1e-12
    )
    effects, shares = total - counterfactual, total / counterfactual - 1
    assert [row["AbsEffect.lower"], row["AbsEffect.upper"]] == pytest.approx(
        np.quantile(effects, [0.025, 0.975]), rel=1e-9
    )
    assert row["RelEffect"] == pytest.approx(shares.mean(), rel=1e-9)
    assert [row["RelEffect.lower"], row["RelEffect.upper"]] == pytest.approx(
        np.quantile(shares, [0.025, 0.975]), rel=1e-9
    )
    assert row["p"] == (1 + (effects <= 0).sum()) / (1 + len(effects))
    average = impact.table.loc["Average"]
    for name in ("Actual", "Pred", "AbsEffect", "AbsEffect.lower", "AbsEffect.sd"):
        assert average[name] == pytest.approx(row[name] / 30, rel=1e-9)
    assert impact.summary_data.loc["abs_effect_upper", "cumulative"] == row["AbsEffect.upper"]


def test_series_are_what_the_draws_say(impact):
    response, draws = vignette()["y"].to_numpy(), impact.fit.posterior.draws
    found = impact.series
    assert found["point_pred"].to_numpy() == pytest.approx(draws.mean(axis=0), rel=1e-12)
    assert found["point_effect_lower"].to_numpy() == pytest.approx(
        response - np.quantile(draws, 0.975, axis=0), rel=1e-9
    )
    running = draws[:, 70:].cumsum(axis=1)
    effects = response[70:].cumsum() - running
    assert found["cum_effect"].to_numpy()[70:] == pytest.approx(effects.mean(axis=0), rel=1e-9)
    assert found["cum_effect_upper"].to_numpy()[70:] == pytest.approx(np.quantile(effects, 0.975, axis=0), rel=1e-9)
    assert (found.loc[:69, ["cum_effect", "cum_effect_lower", "cum_effect_upper"]] == 0).all(axis=None)
    assert found["cum_pred"].to_numpy()[69] == pytest.approx(response[:70].sum(), rel=1e-12)
    ports = impact.inferences
    assert ports["post_cum_y"].to_numpy()[70:] == pytest.approx(response[70:].cumsum(), rel=1e-12)
    assert ports["post_cum_preds_means"].to_numpy()[70:] == pytest.approx(running.mean(axis=0), rel=1e-9)
    assert ports.loc[:69, "post_preds"].isna().all()
    assert ports["preds"].equals(ports["point_pred"])


def test_numbers_are_those_of_the_method_on_the_same_panel(impact):
    table = vignette().rename_axis("t").reset_index().melt("t", var_name="unit", value_name="value")
    panel = cb.Panel.from_table(table, unit="unit", period="t", outcome="value", treated=["y"], start=70)
    same = cb.estimate(panel, "causal-impact")
    average = impact.table.loc["Average"]
    assert average["AbsEffect"] == pytest.approx(same.value, rel=1e-9)
    assert [average["AbsEffect.lower"], average["AbsEffect.upper"]] == pytest.approx(
        list(same.interval.segments[0]), rel=1e-9
    )
    assert average["AbsEffect.sd"] == pytest.approx(same.std_error, rel=1e-9)
    assert average["p"] == impact.p_value == same.posterior_tail
    assert impact.inclusion_probability == same.detail["inclusion_probability"]


@pytest.mark.parametrize("scenario", ["basic", "covariates", "seasonal"])
def test_r_captures_are_met_under_its_priors(reference, scenario):
    # R CausalImpact 1.4.1 with bsts 0.9.10: mean within 3%, ends within 8% of the interval's width (MANIFEST, sc/).
    case = json.loads((reference / "sc" / f"bsts_{scenario}.json").read_text("utf-8"))
    data = pd.DataFrame({"y": case["data"]["y"], **(case["data"].get("x") or {})})
    last = case["n_pre"] - 1
    found = CausalImpact(
        data, [0, last], [last + 1, case["n"] - 1], {**(case["model_args"] or {}), "niter": 5000}, compat="r"
    )
    average, theirs = found.table.loc["Average"], case["r_output"]
    width = theirs["ci_upper"] - theirs["ci_lower"]
    assert average["AbsEffect"] == pytest.approx(theirs["point_effect_mean"], rel=0.03)
    assert average["AbsEffect.lower"] == pytest.approx(theirs["ci_lower"], abs=0.08 * width)
    assert average["AbsEffect.upper"] == pytest.approx(theirs["ci_upper"], abs=0.08 * width)


# What is printed


def test_summary_has_the_rows_of_r_in_their_order(impact):
    lines = impact.summary().splitlines()
    assert lines[0] == "Posterior inference {CausalImpact}"
    assert lines[2].split() == ["Average", "Cumulative"]
    starts = [
        next(label for label in LABELS if line.startswith(label)) for line in lines if line.startswith(tuple(LABELS))
    ]
    assert starts == LABELS
    columns = lines[2].index("Average"), lines[2].index("Cumulative")
    assert all(line[column - 1] == " " and line[column] != " " for line in lines[3:6] for column in columns)


def test_summary_prints_the_numbers_of_the_table(impact):
    row = impact.table.loc["Average"]
    text = impact.summary()
    assert f"{row['Pred']:.2f} ({row['Pred.sd']:.2f})" in text
    assert f"[{row['AbsEffect.lower']:.2f}, {row['AbsEffect.upper']:.2f}]" in text
    assert f"{100 * row['RelEffect']:.2f}% ({100 * row['RelEffect.sd']:.2f}%)" in text
    assert f"probability p: {row['p']:.4f}" in text
    assert f"causal effect: {100 * (1 - row['p']):.2f}%" in text
    assert repr(text) == str(text) == repr(impact)


def test_report_says_what_the_table_says(impact):
    table, report = impact.summary(), " ".join(impact.summary("report").split())
    numbers = set(re.findall(r"-?\d+\.\d+", report.partition("Priors:")[0]))
    assert numbers == set(re.findall(r"-?\d+\.\d+", table.partition("Priors:")[0])) - {
        # standard deviations and the complement of the tail are in the table alone
        *re.findall(r"\((-?\d+\.\d+)%?\)", table),
        re.search(r"causal effect: (\d+\.\d+)%", table)[1],
    }
    assert "doesn't hold zero" in report


def test_report_claims_nothing_where_the_interval_holds_zero():
    found = CausalImpact(vignette(effect=0.0), PRE, POST)
    row = found.table.loc["Average"]
    assert row["AbsEffect.lower"] <= 0 <= row["AbsEffect.upper"]
    report = found.summary("report")
    assert "holds zero" in report
    assert "by more than chance explains" not in report


@pytest.mark.parametrize("output", ["summary", "report"])
def test_tail_is_called_posterior_and_never_p_value(impact, output):
    text = impact.summary(output)
    assert "osterior tail-area probability" in text
    assert not re.search(r"p-value|significan", text, flags=re.IGNORECASE)


def test_report_keeps_to_its_width(impact):
    assert max(map(len, impact.summary("report", width=60).splitlines())) <= 60


def test_more_digits_are_printed_where_numbers_are_small():
    found = CausalImpact(vignette() / 1e4, PRE, POST)
    row = found.table.loc["Average"]
    places = 1 - int(np.floor(np.log10(row["AbsEffect.sd"])))
    assert places > 2
    assert f"{row['AbsEffect']:.{places}f} ({row['AbsEffect.sd']:.{places}f})" in found.summary()


def test_total_that_is_not_surely_positive_has_no_relative_effect():
    found = CausalImpact(vignette() - 120.0, PRE, POST)
    assert np.isnan(found.table.loc["Average", "RelEffect"])
    assert "not computed" in found.summary()
    assert "isn't surely positive" in " ".join(found.summary().split())
    assert "isn't surely positive" not in CausalImpact(vignette(), PRE, POST).summary()
    assert "A relative effect isn't computed" in found.summary("report")


# Little history


def test_short_history_is_said(impact):
    text = " ".join(CausalImpact(vignette(), [50, 69], POST).summary().split())
    assert "pre_period holds 20 rows with a response, fewer than 30" in text
    text = " ".join(CausalImpact(vignette(), PRE, POST, {"nseasons": 52, "niter": 50}).summary().split())
    assert "pre_period holds 70 rows, fewer than two cycles of 52" in text
    assert "fewer than" not in impact.summary()


def test_numbers_of_any_kind_are_read(impact):
    mixed = vignette().astype(object)
    mixed.loc[3, "x1"] = Decimal(mixed.loc[3, "x1"])
    pd.testing.assert_frame_equal(CausalImpact(mixed, PRE, POST).table, impact.table)
    holes, other = vignette().astype("Float64"), vignette().astype(object)
    holes.loc[5, "y"], other.loc[5, "y"] = pd.NA, None
    pd.testing.assert_frame_equal(CausalImpact(holes, PRE, POST).table, CausalImpact(other, PRE, POST).table)


def test_default_model_args_of_r_are_read(impact):
    # model.args of R's CausalImpact 1.4.1 where none is given.
    given = {"niter": 1000, "standardize.data": True, "prior.level.sd": 0.01, "nseasons": 1, "season.duration": 1}
    found = CausalImpact(vignette(), PRE, POST, {**given, "dynamic.regression": False, "max.flips": -1})
    pd.testing.assert_frame_equal(found.table, CausalImpact(vignette(), PRE, POST, compat="r").table)


# Which priors


def test_default_learns_the_drift_and_says_so(impact):
    assert impact.compat == "none"
    assert "compat='none'" in impact.summary()
    assert "compat='none'" in " ".join(impact.summary("report").split())


@pytest.mark.parametrize(
    "call",
    [
        {"compat": "r"},
        {"model_args": {"prior.level.sd": 0.01}},
        {"model_args": {"prior_level_sd": 0.01}},
        {"prior_level_sd": 0.01},
    ],
)
def test_priors_of_r_are_asked_for_in_one_argument_and_said(call):
    found = CausalImpact(vignette(), PRE, POST, **call)
    assert found.compat == "r"
    assert "(compat='r')" in found.summary()
    pd.testing.assert_frame_equal(found.table, CausalImpact(vignette(), PRE, POST, compat="r").table)


def test_model_args_reach_the_engine():
    made = CausalImpact(
        vignette(), PRE, POST, {"niter": 50, "nseasons": 7, "season_duration": 2, "prior_level_sd": 0.1}, seed=3
    )
    assert made.fit.posterior.draws.shape == (50, 100)
    same = cb.estimate(made_panel(), "causal-impact", seed=3, options=made_options())
    assert made.table.loc["Average", "AbsEffect"] == pytest.approx(same.value, rel=1e-9)


def made_panel():
    table = vignette().rename_axis("t").reset_index().melt("t", var_name="unit", value_name="value")
    return cb.Panel.from_table(table, unit="unit", period="t", outcome="value", treated=["y"], start=70)


def made_options():
    return {"compat": "r", "draws": 50, "seasons": 7, "season_duration": 2, "level_sd": 0.1}


def test_a_prior_of_one_is_a_prior():
    found = CausalImpact(vignette(), PRE, POST, prior_level_sd=1.0)
    pd.testing.assert_frame_equal(found.table, CausalImpact(vignette(), PRE, POST, {"prior_level_sd": 1}).table)
    assert found.compat == "r"
    with pytest.raises(StudyError, match="beside it"):
        CausalImpact(vignette(), PRE, POST, {"nseasons": 7}, nseasons=1)


def test_dynamic_regression_reaches_the_engine():
    found = CausalImpact(vignette(), PRE, POST, {"dynamic_regression": True, "niter": 100})
    same = cb.estimate(made_panel(), "causal-impact", options={"regression": "dynamic", "draws": 100})
    assert found.table.loc["Average", "AbsEffect"] == pytest.approx(same.value, rel=1e-9)


def test_arguments_that_change_nothing_are_named():
    text = CausalImpact(vignette(), PRE, POST, {"fit_method": "hmc", "nburn": 100, "max.flips": -1}).summary()
    assert "max_flips plays no part" in text
    assert "fit_method plays no part" in text
    assert "nburn plays no part" in text


def test_coverage_that_the_summary_quotes_is_the_measured_one():
    table = Path(__file__).parents[2] / "benchmarks" / "results" / "bsts_coverage.md"
    if not table.exists():
        pytest.skip("benchmarks/results/bsts_coverage.md isn't written yet: python benchmarks/bsts_coverage.py")
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table.read_text("utf-8").splitlines()
        if "(" in line
    ]
    rows = [cells for cells in cells if len(cells) == 7 and cells[0] in NOISES]
    assert len(rows) == 18
    for column, compat in ((3, "none"), (4, "r")):
        lowest = [min(float(row[column].split()[0]) for row in rows if row[0] == noise) for noise in NOISES]
        assert [round(100 * share) for share in lowest] == list(COVERAGE[compat])


# alpha


def test_alpha_sets_level_and_label(impact):
    wide = CausalImpact(vignette(), PRE, POST, alpha=0.2)
    assert "80% CI" in wide.summary()
    assert "80% interval" in wide.summary("report")
    row, narrow = wide.table.loc["Average"], impact.table.loc["Average"]
    assert row["alpha"] == 0.2
    assert row["AbsEffect"] == narrow["AbsEffect"]
    assert narrow["AbsEffect.lower"] < row["AbsEffect.lower"] < row["AbsEffect.upper"] < narrow["AbsEffect.upper"]
    assert CausalImpact(vignette(), PRE, POST, alpha=0.7).table.loc["Average", "alpha"] == 0.7


# Rows


def test_rows_between_the_periods_neither_teach_nor_count():
    noisy = vignette()
    noisy.loc[60:69, "y"] += 1000.0
    found = CausalImpact(noisy, [0, 59], POST)
    clean = CausalImpact(vignette(), [0, 59], POST)
    pd.testing.assert_frame_equal(found.table, clean.table)
    assert "10 rows between pre_period and post_period are neither learned from nor counted" in " ".join(
        found.summary().split()
    )
    assert np.isfinite(found.inferences.loc[60:69, "point_pred"]).all()
    assert (found.inferences.loc[60:69, "cum_effect"] == 0).all()


def test_rows_outside_both_periods_have_no_prediction():
    found = CausalImpact(vignette(), [10, 69], [70, 89])
    assert found.inferences.loc[[9, 90], "point_pred"].isna().all()
    assert len(found.inferences) == 100
    assert found.table.loc["Cumulative", "Actual"] == pytest.approx(vignette()["y"][70:90].sum(), rel=1e-12)


def test_missing_responses_are_left_out_and_said():
    data = vignette()
    data.loc[[5, 6, 80], "y"] = np.nan
    found = CausalImpact(data, PRE, POST)
    assert found.table.loc["Cumulative", "Actual"] == pytest.approx(data["y"][70:].sum(), rel=1e-12)
    assert found.table.loc["Average", "Actual"] == pytest.approx(data["y"][70:].mean(), rel=1e-12)
    text = " ".join(found.summary().split())
    assert "missing in 2 rows of pre_period" in text
    assert "missing in 1 row of post_period" in text
    assert found.series.loc[79, "cum_effect"] == pytest.approx(found.series.loc[80, "cum_effect"], rel=1e-12)


def test_controls_that_do_not_vary_are_said(impact):
    found = CausalImpact(vignette().assign(flat=3.0), PRE, POST)
    pd.testing.assert_frame_equal(found.table, impact.table)
    assert "1 control without variation in pre_period: flat; not used" in " ".join(found.summary().split())


def test_ends_between_or_beyond_rows_are_read_and_said():
    found = CausalImpact(vignette(), [-5, 69], [70, 200])
    assert found.pre_period == [0, 69]
    assert found.post_period == [70, 99]
    text = " ".join(found.summary().split())
    assert "pre_period -5 to 69 holds 70 rows, 0 to 69" in text
    assert "post_period 70 to 200 holds 30 rows, 70 to 99" in text


def test_months_are_read_whole():
    found = CausalImpact(by_date(), ["2014-01", "2014-02"], ["2014-03", "2014-04"])
    assert [str(end.date()) for end in found.pre_period] == ["2014-01-01", "2014-02-28"]
    assert "Learned from 59 rows (2014-01-01 to 2014-02-28)" in found.summary()


def test_missing_dates_are_said():
    data = by_date().drop(pd.to_datetime(["2014-01-10", "2014-01-11"]))
    text = CausalImpact(data, ["2014-01-01", "2014-03-11"], ["2014-03-12", "2014-04-10"]).summary()
    assert "1 step between neighbouring rows twice the usual or more" in " ".join(text.split())


# Refusals


def changed(**columns):
    return vignette().assign(**columns)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((vignette(), [0, 69], [60, 99]), "pre_period ends at 69, post_period begins at 60"),
        ((vignette(), [1, 2], POST), "2 values in pre_period"),
        ((vignette(), PRE, [200, 300]), "no row of the data lies in post_period"),
        ((vignette(), [69, 0], POST), "the ends of pre_period are reversed: 69 to 0"),
        ((by_date(), ["2014-03-11", "2014-01-01"], POST), "reversed: 2014-03-11 to 2014-01-01"),
        (
            (by_date(), [pd.Timestamp("2013-01-01"), pd.Timestamp("2013-02-01")], POST),
            "they go from 2014-01-01 to 2014-04-10",
        ),
        ((vignette(), 69, POST), "pre_period is 69"),
        ((vignette(), [0, 69, 70], POST), "pre_period is"),
        ((vignette(), [0, None], POST), "pre_period holds None"),
        ((vignette(), ["2014-01-01", "2014-03-11"], POST), "the index holds numbers"),
        ((by_date(), PRE, POST), "the index holds dates"),
        ((by_date(), ["01/02/2014", "2014-03-11"], ["2014-03-12", "2014-04-10"]), "'01/02/2014'"),
        ((vignette().set_axis([f"day {t}" for t in range(100)]), PRE, POST), "'day 0'"),
        ((pd.concat([vignette(), vignette()]), PRE, POST), "in several rows"),
        ((changed(x1=np.where(np.arange(100) == 3, np.nan, 1.0)), PRE, POST), "'x1' 1"),
        ((changed(x2="text"), PRE, POST), "1 column with values that aren't real numbers: x2 ('text', 'text', 'text')"),
        ((vignette().astype({"x1": str}), PRE, POST), "1 column with values that aren't real numbers: x1 ('1"),
        ((changed(y=1 + 2j), PRE, POST), "y ((1+2j)"),
        ((changed(x2=pd.Timestamp("2014-01-01")), PRE, POST), "x2 (Timestamp"),
        ((changed(x1=np.where(np.arange(100) == 3, np.inf, 1.0)), PRE, POST), "infinite values: 'x1' 1"),
        ((changed(y=np.nan), PRE, POST), "0 values in pre_period"),
        ((vignette().assign(y=lambda d: d["y"].where(d.index < 70)), PRE, POST), "no value in post_period"),
        ((vignette().set_axis(["y", "y"], axis=1), PRE, POST), "share a name"),
        ((object(), PRE, POST), "can't be read as a table"),
        ((vignette().iloc[:, :0], PRE, POST), "0 columns"),
        ((vignette().iloc[:0], PRE, POST), "0 rows"),
        ((by_date(), ["2014-01-01", None], POST), "the index holds dates"),
    ],
)
def test_data_that_cannot_be_used_are_refused_with_a_remedy(arguments, words):
    with pytest.raises(DataError, match=re.escape(words)) as refusal:
        CausalImpact(*arguments)
    assert refusal.value.remedy


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"model_args": {"nseason": 7}}, "did you mean 'nseasons'?"),
        ({"model_args": {"niter": 1}}, "at least 2"),
        ({"model_args": {"niter": "many"}}, "niter is 'many'"),
        ({"model_args": {"niter": 10, "ndraws": 10}}, "niter and ndraws mean the same"),
        ({"model_args": {"season_duration": 24}}, "season_duration needs nseasons"),
        ({"model_args": {"prior_level_sd": -1}}, "must be a positive number"),
        ({"model_args": {"dynamic_regression": 1}}, "must be True or False"),
        ({"model_args": {"standardize_data": False}}, "always standardised"),
        ({"standardize": False}, "always standardised"),
        (
            {"model_args": {"prior_level_sd": 0.01, "dynamic_regression": True}},
            "prior_level_sd or dynamic_regression out",
        ),
        ({"model_args": {"dynamic_regression": True}, "compat": "r"}, "leave compat='r' or dynamic_regression out"),
        ({"model_args": {"prior_level_sd": 0.01}, "compat": "none"}, "belongs to R's priors"),
        ({"model_args": {"nseasons": 7}, "nseasons": 7}, "given in model_args and beside it"),
        ({"model_args": {"prior.level.sd": 0.1, "prior_level_sd": 0.1}}, "given twice"),
        ({"nseasons": [{"period": 7}, {"period": 30}]}, "one cycle is modelled"),
        ({"nseasons": [{"period": 7, "harmonics": 2}]}, "one cycle is modelled"),
        ({"model_args": object()}, "not a mapping"),
        ({"compat": "R"}, "compat is 'R'"),
        ({"model_args": {"niter": float("inf")}}, "niter is inf, it must be a whole number"),
        ({"model_args": {"nseasons": float("nan")}}, "nseasons is nan, it must be a whole number"),
        ({"model_args": {"standardize_data": np.False_}}, "always standardised"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True"),
        ({"alpha": 0}, "alpha is 0"),
        ({"alpha": 1.0}, "alpha is 1.0"),
        ({"alpha": "0.05"}, "alpha is '0.05'"),
        ({"alpha": float("nan")}, "alpha is nan"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(call, words):
    with pytest.raises((StudyError, DataError), match=re.escape(words)):
        CausalImpact(vignette(), PRE, POST, **call)


def test_cycle_of_pycausalimpact_is_the_number_of_seasons():
    one = CausalImpact(vignette(), PRE, POST, nseasons=[{"period": 7}])
    other = CausalImpact(vignette(), PRE, POST, {"nseasons": 7})
    pd.testing.assert_frame_equal(one.table, other.table)


@pytest.mark.parametrize(("method", "argument"), [("summary", "tables"), ("plot", ["origin"]), ("plot", [])])
def test_outputs_that_do_not_exist_are_refused(impact, method, argument):
    with pytest.raises(CausalbenchError):
        getattr(impact, method)(argument)


@pytest.mark.parametrize("call", [{"digits": -1}, {"digits": 1.5}, {"output": "report", "width": 0}])
def test_sizes_of_texts_are_whole_numbers(impact, call):
    with pytest.raises(DataError, match="whole number from"):
        impact.summary(**call)


# The picture


def test_plot_has_three_panels_of_the_same_numbers(impact):
    figure = impact.plot()
    original, pointwise, cumulative = figure.axes
    labelled = {line.get_label(): line for line in original.get_lines()}
    assert labelled["observed"].get_ydata() == pytest.approx(vignette()["y"].to_numpy())
    assert any(
        line.get_ydata() == pytest.approx(impact.series["point_effect"].to_numpy())
        for line in pointwise.get_lines()
        if len(line.get_ydata()) == 100
    )
    assert max(np.nanmax(line.get_ydata()) for line in cumulative.get_lines()) == pytest.approx(
        impact.table.loc["Cumulative", "AbsEffect"]
    )


def test_plot_of_a_single_row_shows_a_bar_and_a_point():
    figure = CausalImpact(vignette(), PRE, [70, 70]).plot(panels=["cumulative"])
    (axes,) = figure.axes
    assert [line.get_marker() for line in axes.get_lines() if len(line.get_ydata()) > 2] == ["."]
    assert len(axes.collections) == 1


def test_plot_draws_the_panels_asked_for_and_shows_itself_in_a_notebook():
    found = CausalImpact(by_date(), ["2014-01-01", "2014-03-11"], ["2014-03-12", "2014-04-10"])
    figure = found.plot(panels=["cumulative", "original"], figsize=(6, 5))
    assert [axes.get_ylabel() for axes in figure.axes] == ["effect, running sum", "y"]
    assert figure._repr_svg_().lstrip().startswith("<?xml")


# The notebook


def test_remarks_of_the_notebook_hold_for_the_data_it_comes_with(geolift):
    # notebooks/causal_impact.py: "some 120 per city and day", "begins a little above zero", "With R's priors ... holds zero".
    controls = pd.DataFrame(geolift.outcome.T, columns=geolift.units).loc[:, ~geolift.ever_treated]
    data = pd.concat([pd.Series(geolift.outcome[geolift.ever_treated].mean(axis=0)), controls], axis=1)
    call = {"data": data, "pre_period": [0, 89], "post_period": [90, 104], "model_args": {"nseasons": 7}, "alpha": 0.1}
    learned, r = (CausalImpact(**call, compat=compat) for compat in ("none", "r"))
    row, wide = learned.table.loc["Average"], r.table.loc["Average"]
    assert row["AbsEffect"] == pytest.approx(122.5, abs=10)
    assert 0 < row["AbsEffect.lower"] < 40
    assert 0.08 < row["RelEffect.upper"] < 0.095
    assert wide["AbsEffect.lower"] < 0
    assert wide["AbsEffect.sd"] > row["AbsEffect.sd"]
    ranked = sorted(learned.inclusion_probability, key=learned.inclusion_probability.get, reverse=True)
    assert set(ranked[:2]) == {"miami", "cincinnati"}
    assert [learned.inclusion_probability[name] for name in ranked[:2]] == pytest.approx([0.75, 0.75], abs=0.1)
