"""Checks that lean on what a study says: jumps, the plan, immature periods, other events, segments."""

import dataclasses
import datetime as dt

import numpy as np
import pandas as pd
import pytest

from causalbench.checks import CATALOGUE
from causalbench.checks.other_events import Event
from causalbench.data.panel import Panel
from causalbench.decision.headline import headline
from causalbench.errors import DataError, StudyError
from causalbench.numerics.segments import opposite_signs
from causalbench.study import Study, load_study
from causalbench.workflow.estimate import answer, generator
from causalbench.workflow.readout import readout

N_PRE, N_POST = 60, 20
DAYS = tuple(dt.date(2025, 1, 6) + dt.timedelta(days=i) for i in range(N_PRE + N_POST))


def markets(*, effect=0.0, seed=0, n_units=20, n_treated=6):
    rng = np.random.default_rng(seed)
    level = 100 * np.exp(0.3 * rng.standard_normal((n_units, 1)))
    season = 0.08 * np.sin(2 * np.pi * np.arange(len(DAYS)) / 7)
    treated = np.zeros((n_units, len(DAYS)), dtype=bool)
    treated[:n_treated, N_PRE:] = True
    outcome = level * (1 + season + 0.01 * rng.standard_normal((n_units, len(DAYS)))) * (1 + effect * treated)
    return Panel(
        outcome=outcome,
        treated=treated,
        units=tuple(f"m{i:02d}" for i in range(n_units)),
        periods=DAYS,
        metric="orders",
        unit_name="market",
        frequency="day",
        season=7,
    )


def changed(panel, **cells):
    outcome = panel.outcome.copy()
    for place, factor in cells.values():
        outcome[place] *= factor
    return dataclasses.replace(panel, outcome=outcome)


def ask(name, panel, *, method="did", **facts):
    found = answer(panel, method)
    check = CATALOGUE.load(name)(**facts)
    return check.run(found.estimator, found.panel, found.estimate, rng=generator(0, name))


# Level shift


def test_treated_units_that_jump_before_the_launch_fail_with_their_date():
    panel = changed(markets(), jump=((slice(0, 3), slice(45, None)), 1.08))
    found = ask("level-shift", panel)
    assert found.verdict == "fail"
    assert found.table["suspects"] == ["m00", "m01", "m02"]
    assert f"at {DAYS[45]} (15 days before the launch)" in found.reason
    assert "Treated among them: m00, m01, m02." in found.reason
    assert "are found in 80% of 100" in found.reason


def test_donor_that_jumps_is_left_out_in_a_second_fit():
    panel = changed(markets(effect=0.1), jump=((10, slice(70, None)), 1.15))
    found = ask("level-shift", panel)
    assert found.verdict == "review"
    assert f"at {DAYS[70]} (10 days after the launch) m10" in found.reason
    without = answer(panel.without(["m10"]), "did").estimate.value
    assert found.table["effect_without"] == pytest.approx(without)


def test_effect_itself_is_no_jump_and_nothing_found_passes():
    found = ask("level-shift", markets(effect=0.2))
    assert (found.verdict, found.table["suspects"]) == ("pass", [])


def test_jump_that_would_go_unnoticed_but_explains_the_effect_can_not_be_told():
    found = ask("level-shift", markets(effect=0.001, n_treated=1), method="synthetic-control")
    assert found.verdict == "not_evaluable"
    assert "the locator can't tell" in found.reason


@pytest.mark.parametrize(("units", "first", "words"), [(20, 50, "10 periods"), (11, 0, "5 units")])
def test_too_little_to_judge_by_is_said(units, first, words):
    panel = markets(n_units=units).only(periods=np.arange(len(DAYS)) >= first)
    panel = dataclasses.replace(panel, frequency="number")
    found = ask("level-shift", panel)
    assert found.verdict == "not_evaluable"
    assert found.reason.startswith(words)


# Plan against actual


def test_plan_that_was_kept_passes():
    panel = markets()
    found = ask("plan-against-actual", panel, actual=panel.treated.astype(float))
    assert (found.verdict, found.statistic) == ("pass", 0.0)


def test_every_departure_is_named_by_kind():
    panel = markets(effect=0.1)
    got = panel.treated.astype(float)
    got[15, N_PRE + 8 :] = 1
    got[0, N_PRE : N_PRE + 3] = 0
    got[1] = 0
    got[2, N_PRE - 5 :] = 1
    got[3, N_PRE + 4] = 0
    got[4, 0] = np.nan
    found = ask("plan-against-actual", panel, actual=got, random=True)
    assert found.verdict == "fail"
    kinds = {row["unit"]: row["kind"] for row in found.table["departures"]}
    assert kinds == {"m15": "not planned", "m00": "late", "m01": "never", "m02": "early", "m03": "with gaps"}
    assert f"m15 (from {DAYS[N_PRE + 8]})" in found.reason
    assert f"m00 (until {DAYS[N_PRE + 2]})" in found.reason
    assert "They were drawn at random, what they got was not" in found.reason
    assert "Of 1 cell nothing is known." in found.reason


def test_effects_by_plan_as_treated_and_of_those_who_kept_to_it():
    panel = markets(effect=0.0)
    got = panel.treated.copy()
    got[18:, N_PRE + 8 :] = True
    panel = dataclasses.replace(panel, outcome=panel.outcome * (1 + 0.1 * got))
    found = ask("plan-against-actual", panel, actual=got.astype(float))
    planned, treated, kept = (found.table[key] for key in ("as_planned", "as_treated", "kept_to_plan"))
    level = panel.outcome[:6, :N_PRE].mean()
    assert planned < kept
    assert kept == pytest.approx(0.1 * level, rel=0.1)
    assert treated == pytest.approx(0.1 * level, rel=0.15)
    assert "(as treated, by imputation)" in found.reason


def test_one_unit_of_many_asks_for_review():
    panel = markets(n_units=30)
    got = panel.treated.astype(float)
    got[20, N_PRE + 5 :] = 1
    assert ask("plan-against-actual", panel, actual=got).verdict == "review"


def test_column_without_a_value_can_not_be_compared():
    assert ask("plan-against-actual", markets(), actual=np.full((20, len(DAYS)), np.nan)).verdict == "not_evaluable"


def test_random_draw_is_withdrawn_in_the_headline():
    study = Study.from_mapping(
        {
            "study": {"name": "x", "question": "?"},
            "data": {"source": "t.csv", "unit": "u", "period": "t"},
            "metric": [{"name": "y", "column": "y"}],
            "launch": {"units": ["a"], "start": 1, "assignment": "random", "actual": "got"},
            "method": {"name": "did"},
        }
    )
    panel = markets()
    got = panel.treated.astype(float)
    kept = ask("plan-against-actual", panel, actual=got)
    got[15, -1] = 1
    left = ask("plan-against-actual", panel, actual=got)
    estimate = answer(panel, "did").estimate
    assert headline(study, estimate, [kept])["assignment"] == "The units were assigned at random."
    assert "didn't get what was drawn" in headline(study, estimate, [left])["assignment"]


# Immature window


@pytest.mark.parametrize(
    ("maturity", "later", "verdict", "n"),
    [(3, 0, "review", 3), (7, 7, "pass", 0), (11, 0, "fail", 11), (40, 5, "fail", 20)],
)
def test_periods_that_have_not_matured_are_counted(maturity, later, verdict, n):
    found = ask("immature-window", markets(), maturity=maturity, later=later)
    assert (found.verdict, found.table["n_immature"]) == (verdict, n)


def test_effect_without_the_immature_periods():
    panel = markets(effect=0.05)
    found = ask("immature-window", panel, maturity=4)
    rest = panel.only(periods=np.arange(len(DAYS)) < len(DAYS) - 4)
    assert found.table["effect_without"] == pytest.approx(answer(rest, "did").estimate.value)
    assert "orders needs 4 days to be complete, so the last 4 days of 20" in found.reason


def test_common_drop_at_the_end_is_found_and_one_in_the_middle_is_not():
    panel = markets()
    low = changed(panel, last=((slice(None), slice(-2, None)), 0.8))
    found = ask("immature-window", low)
    assert (found.verdict, found.table["n_dropped"]) == ("review", 2)
    assert "lower than usual in the last 2 days" in found.reason
    assert ask("immature-window", changed(panel, mid=((slice(None), slice(-9, -7)), 0.8))).verdict == "pass"
    assert ask("immature-window", panel).verdict == "pass"


def test_years_are_not_searched_for_a_drop():
    panel = markets()
    years = tuple(range(1900, 1900 + len(DAYS)))
    panel = dataclasses.replace(panel, frequency="number", season=1, periods=years)
    assert ask("immature-window", panel) is None


# Other events


def event(first, last, units=(), name="strike"):
    return Event(name=name, start=DAYS[first], end=DAYS[last], units=units)


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        ((event(10, 20, ("m00",)),), "pass"),
        ((event(65, 66),), "pass"),
        ((event(65, 66, ("m00",)),), "review"),
        ((event(65, 78, ("m00", "m01")),), "fail"),
        ((event(55, 60, ("m15",)),), "review"),
        ((event(65, 66, ("elsewhere",)),), "pass"),
    ],
)
def test_events_are_sorted_by_when_and_whom(events, verdict):
    assert ask("other-events", markets(), events=events).verdict == verdict


def test_event_is_named_with_its_share_of_both_sides_and_the_effect_without_it():
    panel = changed(markets(), strike=((slice(0, 3), slice(65, 70)), 0.7))
    found = ask("other-events", panel, events=(event(65, 69, ("m00", "m01", "m02")),))
    assert f"strike ({DAYS[65]} to {DAYS[69]}) in 50% of the treated and 0% of the other units" in found.reason
    left = np.ones(len(DAYS), dtype=bool)
    left[65:70] = False
    assert found.table["effect_without"] == pytest.approx(answer(panel.only(periods=left), "did").estimate.value)


def test_weekly_period_lasts_until_the_next_one():
    panel = markets().only(periods=np.arange(len(DAYS)) % 7 == 0)
    panel = dataclasses.replace(panel, frequency="week", season=1)
    inside = Event(name="sale", start=DAYS[65], end=DAYS[66], units=("m00",))
    found = ask("other-events", panel, events=(inside,))
    assert found.table["events"][0]["n_after"] == 1


# Through the study


def write(folder, panel, *, extra="", launch="", metric="", **columns):
    n_units, n_periods = panel.outcome.shape
    table = pd.DataFrame(
        {
            "market": np.repeat(panel.units, n_periods),
            "date": np.tile([str(day) for day in panel.periods], n_units),
            "orders": panel.outcome.ravel(),
            **{name: np.broadcast_to(values, panel.outcome.shape).ravel() for name, values in columns.items()},
        }
    )
    table.to_csv(folder / "table.csv", index=False)
    text = f"""
[study]
name = "spring"
question = "Did it work?"
[data]
source = "table.csv"
unit = "market"
period = "date"
[[metric]]
name = "orders"
column = "orders"
{metric}
[launch]
units = {[*panel.treated_units]}
start = "{DAYS[N_PRE]}"
{launch}
[method]
name = "did"
{extra}
"""
    (folder / "study.toml").write_text(text.replace("'", '"'))
    return folder / "study.toml"


def checks_of(path):
    return {check.name: check for check in readout(load_study(path)).checks["orders"]}


def test_keys_of_the_study_reach_their_checks(tmp_path):
    panel = markets(effect=0.05)
    got = panel.treated.copy()
    got[15, 70:] = True
    path = write(
        tmp_path,
        panel,
        got=got.astype(int),
        kind=np.where(np.arange(20) % 2, "new", "old")[:, None],
        launch=f'actual = "got"\nend = "{DAYS[-3]}"',
        metric="maturity = 5",
        extra='[calendar]\nfile = "events.csv"\n[segments]\ncolumn = "kind"',
    )
    rows = f"strike,{DAYS[65]},{DAYS[66]},m00; m01\nholiday,{DAYS[70]},,\nold,{DAYS[3]},,m19"
    (tmp_path / "events.csv").write_text(f"name,start,end,units\n{rows}\n")
    found = checks_of(path)
    assert [row["unit"] for row in found["plan-against-actual"].table["departures"]] == ["m15"]
    assert found["immature-window"].table["n_declared"] == 3
    assert [row["n_after"] for row in found["other-events"].table["events"]] == [2, 1, 0]
    assert {row["segment"] for row in found["segment-effects"].table["segments"]} == {"new", "old"}


def test_opposite_effects_of_segments_are_not_null(tmp_path):
    panel = markets(n_units=24, n_treated=12)
    old = (np.arange(24) % 2 == 0)[:, None]
    panel = dataclasses.replace(panel, outcome=panel.outcome * (1 + np.where(old, 0.06, -0.06) * panel.treated))
    path = write(tmp_path, panel, kind=np.where(old, "old", "new"), extra='[segments]\ncolumn = "kind"')
    found = checks_of(path)["segment-effects"]
    assert found.verdict == "review"
    assert found.reason.startswith("Not null: opposite effects, +")
    assert "for old and -" in found.reason
    assert found.table["tests"][0]["test"] == "Gail and Simon"
    assert found.table["interval_level"] == pytest.approx(1 - (1 - found.table["level"]) / 2)
    assert "corrected for all 2 segments" in found.reason
    for row in found.table["segments"]:
        reach = row["upper"] - row["effect"]
        assert reach > 2.24 * row["std_error"]  # 2.2414 by the normal law; an interval by itself takes 2.228 by t(10)


def test_segments_of_rows_add_up_to_the_unit_and_are_tested_without_independence(tmp_path):
    one, two = markets(seed=1), markets(seed=2)
    up = dataclasses.replace(one, outcome=one.outcome * (1 + 0.08 * one.treated))
    down = dataclasses.replace(two, outcome=two.outcome * (1 - 0.08 * two.treated))
    path = write(tmp_path, up, kind="new", extra='[segments]\ncolumn = "kind"')
    first = (tmp_path / "table.csv").read_text()
    write(tmp_path, down, kind="power", extra='[segments]\ncolumn = "kind"')
    (tmp_path / "table.csv").write_text(first + (tmp_path / "table.csv").read_text().partition("\n")[2])
    path.write_text(path.read_text().replace('period = "date"', 'period = "date"\non_duplicate = "sum"'))
    found = checks_of(path)["segment-effects"]
    effects = {row["segment"]: row["effect"] for row in found.table["segments"]}
    assert effects["new"] == pytest.approx(answer(up, "did").estimate.value, rel=1e-6)
    assert effects["power"] == pytest.approx(answer(down, "did").estimate.value, rel=1e-6)
    assert found.table["tests"][0]["test"] == "one-sided tests of either sign"
    assert found.verdict == "review"


def test_segment_without_a_treated_unit_is_left_out_and_named(tmp_path):
    panel = markets()
    kind = np.where(np.arange(20) >= 17, "empty", np.where(np.arange(20) % 2, "new", "old"))[:, None]
    found = checks_of(write(tmp_path, panel, kind=kind, extra='[segments]\ncolumn = "kind"'))["segment-effects"]
    assert "Left out: empty (no treated unit is in it)." in found.reason
    assert len(found.table["segments"]) == 2


@pytest.mark.parametrize(
    ("extra", "launch", "events", "words"),
    [
        ('[calendar]\nfile = "none.csv"', "", "", "calendar"),
        ('[calendar]\nfile = "../events.csv"', "", "", "outside"),
        ('[calendar]\nfile = "events.csv"', "", "name,begin\na,2025-03-10\n", "no column 'start'"),
        ('[calendar]\nfile = "events.csv"', "", "name,start,end\na,2025-03-10,2025-03-01\n", "before it starts"),
        ('[calendar]\nfile = "events.csv"', "", "name,start\na,10 March\n", "row 1 of events.csv: start is '10 March'"),
        ('[calendar]\nfile = "events.csv"', "", "name,start\n,2025-03-10\n", "has no name"),
        ("", 'actual = "gott"', "", "lacks outcome column 'gott'"),
        ("", 'actual = "orders"', "", "values outside 0 to 1"),
        ('[segments]\ncolumn = "kindd"', "", "", "no column 'kindd'"),
        ('[segments]\ncolumn = "same"', "", "", "has 1 values"),
        ('[segments]\ncolumn = "orders"', "", "", "it must have 2 to 40"),
    ],
)
def test_what_the_study_names_but_is_not_there_is_refused(tmp_path, extra, launch, events, words):
    path = write(tmp_path, markets(), got=1, kind="x", same="y", extra=extra, launch=launch)
    if events:
        (tmp_path / "events.csv").write_text(events)
    with pytest.raises(DataError, match=words):
        readout(load_study(path))


@pytest.mark.parametrize(
    ("metric", "launch", "words"),
    [
        ("maturity = 0", "", "maturity"),
        ("maturity = 1.5", "", "maturity"),
        ("", 'actual = ""', "actual"),
    ],
)
def test_keys_that_say_nothing_are_refused(tmp_path, metric, launch, words):
    with pytest.raises(StudyError, match=words):
        load_study(write(tmp_path, markets(), metric=metric, launch=launch))


def test_maturity_is_for_launches(tmp_path):
    path = write(tmp_path, markets(), metric="maturity = 3")
    text = path.read_text()
    geo = text.split("[launch]")[0] + "[geo]\ndurations = [5]\nmarket_counts = [2]\n"
    path.write_text(geo)
    with pytest.raises(StudyError, match="is for the study of a launch"):
        load_study(path)


def test_signs_are_opposite_only_where_both_sides_are_shown():
    assert opposite_signs(np.array([1.0, 2.0, 3.0]), np.array([0.001, 0.001, 0.001])) == 1.0
    assert opposite_signs(np.array([1.0, -2.0]), np.array([0.01, 0.03])) == pytest.approx(0.03)
