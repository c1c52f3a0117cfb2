"""Advice on studies: measured before the outcome is looked at, on panels with known properties; and what ``auto`` runs."""

import dataclasses
import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from causalbench.cli import app
from causalbench.data.datasets import study_path
from causalbench.data.simulate import factor_panel, single_launch_panel, staggered_panel
from causalbench.errors import DataError, RefusalError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.study import load_study
from causalbench.values import CheckResult
from causalbench.workflow.advice import advise_study, profile_study, resolve, without_suspects
from causalbench.workflow.history_facts import foresight, mock_error, reach, shadow
from causalbench.workflow.readout import check_study, readout

LAUNCH = """\
[study]
name = "trial"
question = "Did it work?"
[data]
source = "table.csv"
unit = "unit"
period = "period"
{data}
[[metric]]
name = "sales"
column = "y"
[launch]
{launch}
[method]
name = "{method}"
level = {level}
"""


def write(folder, panel, *, launch="", data="", method="auto", level=0.95, until=None, extra=None):
    """Write a panel as a study; launch dates by name where all are alike, else by a column."""
    first = panel.first_treated
    rows = [
        {
            "unit": unit,
            "period": period,
            "y": panel.outcome[i, t],
            "cohort": first[i] if first[i] < len(panel.periods) else "",
        }
        for i, unit in enumerate(panel.units)
        for t, period in enumerate(panel.periods)
    ]
    table = pd.DataFrame(rows)
    if panel.frequency == "number":
        table["cohort"] = [panel.periods[value] if value != "" else "" for value in table["cohort"]]
    if until is not None:
        table = table[table["period"] <= until]
    for name, values in (extra or {}).items():
        table[name] = table["unit"].map(dict(zip(panel.units, values, strict=True)))
    table.to_csv(folder / "table.csv", index=False)
    one = len(panel.cohorts) == 1
    named = f'units = {list(panel.treated_units)}\nstart = "{panel.cohorts[0]}"' if one else 'cohort = "cohort"'
    text = LAUNCH.format(launch=f"{named}\n{launch}".replace("'", '"'), data=data, method=method, level=level)
    (folder / "study.toml").write_text(text)
    return load_study(folder)


@pytest.fixture
def few():
    return factor_panel(n_units=26, n_periods=48, n_treated=3, n_post=8, effect=1.0, rho=0.3, seed=1)


def test_profile_counts_what_the_panel_holds(tmp_path, few):
    found = profile_study(write(tmp_path, few))
    assert (found.n_treated, found.n_control, found.n_pre, found.n_post) == (3, 23, 40, 8)
    assert (found.n_cohorts, found.fewest_cohort, found.season) == (1, 3, 1)
    assert found.typical == pytest.approx(few.outcome[:3, :40].mean())
    assert found.launched


def test_advice_is_the_same_whatever_happened_after_the_launch(tmp_path, few):
    wild = dataclasses.replace(few, outcome=np.where(few.treated.any(axis=0), 1e6 * few.outcome, few.outcome))
    for name, panel in (("a", few), ("b", wild)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, panel)
    one, other = (advise_study(load_study(tmp_path / name)) for name in ("a", "b"))
    assert one == other


def test_advice_works_where_nobody_may_read_what_came_after(tmp_path, few):
    study = write(tmp_path, few)
    table = pd.read_csv(tmp_path / "table.csv", dtype=str)
    table.loc[table["period"].astype(int) > 40, "y"] = "sealed"
    table.to_csv(tmp_path / "table.csv", index=False)
    assert advise_study(study).row == "7"
    with pytest.raises(DataError):
        readout(study)


@pytest.mark.parametrize("until", [40, 44])
def test_advice_before_the_post_period_is_over(tmp_path, few, until):
    found = advise_study(write(tmp_path, few, until=until))
    assert (found.row, found.claim_allowed) == ("7", until > 40)
    assert profile_study(load_study(tmp_path)).n_post == until - 40


def test_inference_advised_is_the_one_that_the_method_itself_would_choose(tmp_path, few):
    study = write(tmp_path, few)
    found = profile_study(study)
    for label, method, options in (
        ("synthetic-control", "synthetic-control", {}),
        ("synthetic-did", "synthetic-did", {}),
        ("augmented-synthetic-control", "augmented-synthetic-control", {}),
        ("did", "did", {}),
    ):
        assert found.inferences[label] == ESTIMATORS.create(method, options).default_inference(few)


def test_cohorts_that_have_not_launched_yet_are_counted(tmp_path):
    panel = staggered_panel(n_units=40, n_periods=20, launches=(8, 12, 16), n_never=10, effect=1.0, rho=0.2, seed=0)
    whole = profile_study(write(tmp_path, panel))
    early = profile_study(write(tmp_path, panel, until=10))
    nothing = profile_study(write(tmp_path, panel, until=8))
    assert [found.n_cohorts for found in (whole, early, nothing)] == [3, 3, 3]
    assert [found.n_treated for found in (whole, early, nothing)] == [30, 30, 30]
    assert [found.n_pre for found in (whole, early, nothing)] == [8, 8, 8]
    assert [found.n_post for found in (whole, early, nothing)] == [12, 2, 0]
    assert advise_study(load_study(tmp_path)).row == "5"


def test_metric_that_needs_time_to_be_final_waits(tmp_path, few):
    write(tmp_path, few)
    text = (tmp_path / "study.toml").read_text().replace('column = "y"', 'column = "y"\nmaturity = 8')
    (tmp_path / "study.toml").write_text(text)
    assert "Wait for 1 period more" in advise_study(load_study(tmp_path)).wait


@pytest.mark.parametrize(
    ("keys", "sought"), [("worthwhile = 0.1", 0.1), ('worthwhile = 0.1\neffects = "absolute"', None), ("", None)]
)
def test_effect_sought_is_in_units_of_the_metric(tmp_path, few, keys, sought):
    write(tmp_path, few)
    text = (tmp_path / "study.toml").read_text().replace('column = "y"', f'column = "y"\n{keys}')
    (tmp_path / "study.toml").write_text(text)
    found = profile_study(load_study(tmp_path))
    wanted = 0.1 * found.typical if sought else 0.1 if keys else None
    assert found.effect_sought == pytest.approx(wanted) if keys else found.effect_sought is None


def test_treatment_column_says_who_launched_all_along_and_who_later(tmp_path):
    panel = staggered_panel(n_units=12, n_periods=10, launches=(5,), n_never=6, effect=1.0, rho=0.2, seed=0)
    study = write(tmp_path, panel)
    table = pd.read_csv(tmp_path / "table.csv")
    table["d"] = panel.treated.ravel().astype(int)
    table.loc[table["unit"] == panel.donor_pool[0], "d"] = 1
    table.to_csv(tmp_path / "table.csv", index=False)
    text = (tmp_path / "study.toml").read_text()
    head, _, rest = text.partition("[launch]\n")
    (tmp_path / "study.toml").write_text(f'{head}[launch]\ntreatment = "d"\n{rest[rest.index("[method]") :]}')
    found = profile_study(load_study(tmp_path))
    assert (found.n_treated, found.n_control, found.n_pre, found.n_post) == (6, 5, 5, 5)
    assert found.inferences == profile_study(study).inferences


@pytest.mark.parametrize(("change", "planned"), [(None, True), ("more", False), ("later", False)])
def test_list_of_who_got_it_is_compared_with_the_planned_one(tmp_path, change, planned):
    panel = factor_panel(n_units=12, n_periods=20, n_treated=6, n_post=5, effect=1.0, rho=0.2, seed=0)
    study = write(tmp_path, panel, launch='assignment = "random"')
    table = pd.read_csv(tmp_path / "table.csv")
    table["got"] = panel.treated.ravel().astype(int)
    changed = panel.donor_pool[0] if change == "more" else panel.treated_units[0]
    table.loc[(table["unit"] == changed) & (table["period"] == 16), "got"] = int(change == "more") if change else 1
    table.loc[(table["unit"] == changed) & (table["period"] > 16), "got"] = 1
    table.to_csv(tmp_path / "table.csv", index=False)
    text = (tmp_path / "study.toml").read_text()
    (tmp_path / "study.toml").write_text(text.replace("[launch]", '[launch]\nactual = "got"'))
    told = load_study(tmp_path)
    assert profile_study(told).as_planned is planned
    assert profile_study(study).as_planned is None
    assert (advise_study(told).row == "3") == planned


def test_units_treated_all_along_are_nobodys_controls(tmp_path):
    panel = staggered_panel(n_units=20, n_periods=12, launches=(5, 8), n_never=8, effect=1.0, rho=0.2, seed=0)
    study = write(tmp_path, panel)
    table = pd.read_csv(tmp_path / "table.csv")
    table.loc[table["unit"] == panel.donor_pool[0], "cohort"] = 1
    table.to_csv(tmp_path / "table.csv", index=False)
    assert profile_study(study).n_control == 7


def test_anticipation_and_end_shorten_history_and_post_period(tmp_path, few):
    found = profile_study(write(tmp_path, few, launch="anticipation = 4\nend = 45"))
    assert (found.n_pre, found.n_post) == (36, 5)


def test_treated_unit_out_of_reach_is_seen(tmp_path):
    panel = single_launch_panel(seed=0, n_pre=60)
    tall = dataclasses.replace(panel, outcome=panel.outcome * np.where(np.arange(31) == 0, 9.0, 1.0)[:, None])
    inside, outside = (profile_study(write(tmp_path, one)).inside_hull for one in (panel, tall))
    assert (inside, outside) == (True, False)
    found = advise_study(load_study(tmp_path))
    assert (found.primary, found.row) == ("augmented-synthetic-control", "8")


def test_scenario_of_one_country_gets_a_synthetic_control(tmp_path):
    found = advise_study(write(tmp_path, single_launch_panel(seed=0)))
    assert (found.primary, found.row, found.grade_cap, found.claim_allowed) == ("synthetic-control", "8", "B", True)
    assert {item.method for item in found.eligible} >= {"synthetic-did", "augmented-synthetic-control", "causal-impact"}


def test_opt_in_units_without_likeness_are_refused_with_the_numbers(tmp_path):
    rng = np.random.default_rng(0)
    panel = factor_panel(n_units=60, n_periods=2, n_treated=20, n_post=1, effect=1.0, rho=0.2, seed=0)
    apart = np.where(np.arange(60) < 20, 5.0, 0.0) + rng.normal(size=60)
    alike = rng.normal(size=60)
    launch = 'assignment = "opt-in"'
    both = [
        advise_study(write(tmp_path, panel, launch=launch, data='covariates = ["size"]', extra={"size": size}))
        for size in (alike, apart)
    ]
    assert (both[0].primary, both[0].row, both[0].inference) == ("group-time", "11", "bootstrap")
    (refused,) = [item for item in both[1].refused if item.row == "11"]
    assert "the controls count as" in refused.condition
    assert both[1].primary is None


def test_method_that_cannot_take_the_columns_is_refused_for_that(tmp_path):
    panel = factor_panel(n_units=40, n_periods=12, n_treated=10, n_post=4, effect=1.0, rho=0.2, seed=0)
    found = advise_study(write(tmp_path, panel, data='covariates = ["size"]', extra={"size": np.arange(40.0)}))
    assert (found.primary, found.row) == ("group-time", "6")
    (refused,) = [item for item in found.refused if item.label == "did" and item.row == "6"]
    assert refused.condition == "did uses no covariates"


def test_auto_runs_the_advised_method(tmp_path, few):
    study = write(tmp_path, few)
    found = readout(study)
    advice = advise_study(study)
    (estimate,) = found.estimates
    assert (estimate.estimator, estimate.inference) == (advice.primary, advice.inference)
    assert found.study["method"]["name"] == "auto"
    assert list(check_study(study)) == ["sales"]
    named, nothing = resolve(write(tmp_path, few, method="did"))
    assert (named.method.name, nothing) == ("did", None)


def test_auto_without_a_row_runs_a_sensitivity(tmp_path):
    panel = factor_panel(n_units=6, n_periods=12, n_treated=2, n_post=4, effect=1.0, rho=0.2, seed=0)
    taken, advice = resolve(write(tmp_path, panel))
    assert (advice.primary, advice.grade_cap) == (None, "C")
    assert (taken.method.name, dict(taken.method.options)) == ("synthetic-control", {"fixed_effects": "unit"})
    assert readout(load_study(tmp_path)).estimates[0].estimator == "synthetic-control"


def test_auto_with_nothing_to_fit_says_so(tmp_path):
    panel = factor_panel(n_units=3, n_periods=4, n_treated=2, n_post=2, effect=1.0, rho=0.2, seed=0)
    table = dataclasses.replace(panel, treated=np.tile(panel.treated[0], (3, 1)))
    with pytest.raises(RefusalError, match="finds no method for these data"):
        resolve(write(tmp_path, table))


def test_comparison_of_the_trained_with_a_survey_is_advised_by_overlap_and_graph(tmp_path):
    place = study_path("lalonde")
    shutil.copytree(place if place.is_dir() else place.parent, tmp_path / "lalonde")
    found = advise_study(load_study(tmp_path / "lalonde"))
    assert (found.primary, dict(found.options), found.row) == ("adjustment", {"method": "dr-did"}, "11")
    survey = pd.read_csv(tmp_path / "lalonde" / "survey.csv")
    (survey.assign(re75=survey["re75"] + 1e5, re74=survey["re74"] + 1e5)).to_csv(
        tmp_path / "lalonde" / "survey.csv", index=False
    )
    refused = advise_study(load_study(tmp_path / "lalonde"))
    assert (refused.primary, refused.grade_cap) == (None, "C")
    assert {item.row for item in refused.refused} == {"3", "11", "12"}


def test_experiment_is_advised_to_draw():
    found = advise_study(load_study(study_path("geolift_pretest")))
    assert (found.primary, found.inference, found.row) == ("geo-experiment", "permutation", "1")
    assert [item.method for item in found.refused] == ["switchback"]


def test_geo_test_in_chosen_markets_is_advised_as_the_launch_that_it_is():
    test, launch = (profile_study(load_study(study_path(name))) for name in ("geolift_test", "geolift"))
    for fact in ("n_treated", "n_control", "n_pre", "n_post", "typical", "placebo_errors", "inferences"):
        assert getattr(test, fact) == getattr(launch, fact)


def test_suspects_of_the_screen_are_left_out_by_name(tmp_path, few):
    study = resolve(write(tmp_path, few))[0]
    table = {"suspects": ["u010"], "weight_on_suspects": 0.1}
    check = CheckResult(name="contamination-screen", question="?", verdict="review", reason="", table=table)
    again, found = without_suspects(study, [check])
    assert again.method.options["exclude"] == ("u010",)
    assert found.suspects == ("u010",)
    assert without_suspects(study, []) is None
    clean = dataclasses.replace(check, table={"suspects": [], "weight_on_suspects": 0.0})
    assert without_suspects(study, [clean]) is None


def test_reach_and_foresight_and_mock_error_on_series_worked_out_by_hand():
    periods = tuple(range(12))
    base = np.array([np.arange(12.0), 10 - np.arange(12.0), np.tile([0.0, 4.0], 6)])
    inside = base.mean(axis=0)
    panel = factor_panel(n_units=4, n_periods=12, n_treated=1, n_post=1, effect=0.0, rho=0.0, seed=0)
    panel = dataclasses.replace(
        panel, outcome=np.vstack([inside, base]), treated=np.zeros((4, 12), dtype=bool), periods=periods
    )
    treated = np.arange(4) == 0
    assert reach(panel, treated).inside
    assert not reach(panel, treated).perfect, "three donors and twelve periods: no luck"
    did = ESTIMATORS.create("did")
    # Changes of each control against the mean of the others, over the last four periods less the first eight.
    effects = []
    for i in range(3):
        gap = base[i] - np.delete(base, i, axis=0).mean(axis=0)
        effects.append(gap[8:].mean() - gap[:8].mean())
    controls = panel.only(units=~treated)
    error = mock_error(did, controls, n_treated=1, length=4, rng=np.random.default_rng(0))
    assert error == pytest.approx(math.sqrt(np.mean(np.square(effects))))
    # A mean of all controls is foreseen without error, the last value of it isn't.
    assert foresight(did, panel, treated, length=1) == pytest.approx(0.0, abs=1e-12)
    later = shadow(panel, {"u000": 12}, periods=tuple(range(15)))
    assert later.n_pre == 12
    assert later.n_post == 3
    assert (later.outcome[:, :12] == panel.outcome).all()


def test_command_prints_words_and_json(tmp_path, few):
    write(tmp_path, few)
    said = CliRunner().invoke(app, ["advise", str(tmp_path)])
    assert said.exit_code == 0
    assert "Primary method:" in said.stdout
    assert "Refused:" in said.stdout
    assert 'The study says "auto": causalbench run takes' in said.stdout
    told = json.loads(CliRunner().invoke(app, ["advise", str(tmp_path), "--json"]).stdout)
    assert told["primary"] == advise_study(load_study(tmp_path)).primary
    assert told["profile"]["n_control"] == 23
