"""``geo analyze``: how a test ran, what differs from its plan, what is refused, and what the page shows of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from causalbench.cli.geo_analyze import analyze
from causalbench.data.audit import audit_history
from causalbench.data.datasets import study_path
from causalbench.data.panel import Panel
from causalbench.data.simulate import factor_panel
from causalbench.decision.geo_headline import Looked, geo_headline
from causalbench.errors import CausalbenchError, DataError, LockError, StudyError
from causalbench.estimators import CATALOGUE as ESTIMATORS
from causalbench.estimators.synthetic_control import SyntheticControl
from causalbench.geo.analysis import analyse
from causalbench.geo.ledger import Ledger
from causalbench.geo.monitoring import monitor
from causalbench.geo.result import GeoResult
from causalbench.geo.split import Split
from causalbench.report import geo_readout_figures as figures
from causalbench.report import geo_readout_page as page
from causalbench.study import GeoStudy
from causalbench.values import CheckResult, Interval, rejects
from causalbench.wording import interval_text
from causalbench.workflow.geo_analysis import analyse_study, exchanged
from causalbench.workflow.geo_switchback import design_switchback, schedule_csv
from causalbench.workflow.geo_trial import index_of, read_trial, window_of
from causalbench.workflow.reading import read_history

N_UNITS, N_PRE, N_TEST = 16, 40, 10


def write(
    folder: Path, *, effect: float = 3.0, n_after: int = 0, spend: float = 0.0, got: dict[str, str] | None = None
) -> np.ndarray[Any, Any]:
    """Write a table with the first eight markets treated from period 41 on; ``got`` says who got which cell's treatment."""
    n_periods = N_PRE + N_TEST + n_after
    panel = factor_panel(
        n_units=N_UNITS, n_periods=n_periods, n_treated=8, n_post=N_TEST + n_after, effect=effect, rho=0.3, seed=5
    )
    rows = []
    for i, unit in enumerate(panel.units):
        for t in range(n_periods):
            on = panel.treated[i, t]
            cell = "" if not on else "treated"
            if got is not None and t >= N_PRE:
                cell = got.get(unit, cell)
            rows.append((unit, t + 1, panel.outcome[i, t], spend * on, cell))
    table = pd.DataFrame(rows, columns=["city", "day", "sales", "spend", "got"])
    table.to_csv(folder / "sales.csv", index=False)
    return np.asarray(panel.outcome)


def mapping(test: dict[str, Any] | None, *, method: dict[str, Any] | None = None, **geo: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "study": {"name": "spring", "question": "Did it work?"},
        "data": {"source": "sales.csv", "unit": "city", "period": "day"},
        "metric": [{"name": "sales", "column": "sales"}],
        "geo": {**geo, **({} if test is None else {"test": test})},
        "method": method or {"name": "did"},
    }
    return values


def study_of(folder: Path, test: dict[str, Any] | None, *, cost: bool = False, **more: Any) -> GeoStudy:
    values = mapping(test, **more)
    if cost:
        values["data"]["cost"] = "spend"
    return GeoStudy.from_mapping(values, folder=folder)


TREATED = [f"u{i:03d}" for i in range(8)]
TEST: dict[str, Any] = {"cells": {"treated": TREATED}, "start": N_PRE + 1, "assignment": "random"}


def evidence_of(study: GeoStudy) -> dict[str, Any]:
    return json.loads(analyse_study(study).to_json())


@pytest.fixture(scope="module")
def geolift_test() -> dict[str, Any]:
    return evidence_of(GeoStudy.load(study_path("geolift_test")))


# --- the walkthrough -------------------------------------------------------------------------------------------------


def test_walkthrough_reads_out_honestly(geolift_test: dict[str, Any]) -> None:
    (result,) = geolift_test["results"]
    (cell,) = result["cells"]
    assert cell["effect"]["value"] == pytest.approx(155.556, abs=5e-4)  # GeoLift 2.7.5 walkthrough, ATT
    assert cell["lift"]["value"] == pytest.approx(0.054, abs=5e-4)  # GeoLift 2.7.5 walkthrough, lift 5.4%
    assert cell["incremental"]["value"] == pytest.approx(4667, abs=0.5)  # GeoLift 2.7.5 walkthrough
    # signed sum and cyclic blocks (Chernozhukov, Wuthrich, Zhu 2021) on the walkthrough's data
    assert cell["effect"]["p_value"] == pytest.approx(12 / 105, abs=1e-12)
    assert geolift_test["headline"]["verdict"] == "not shown"
    assert geolift_test["headline"]["stamp"] == ""
    assert "chosen, not drawn" in geolift_test["headline"]["assignment"]


def test_walkthrough_has_the_showcase_because_the_study_asks(geolift_test: dict[str, Any]) -> None:
    iid = next(s for s in geolift_test["showcase"]["schemes"] if s["permutation"] == "iid")
    assert iid["segments"] == []
    assert geolift_test["showcase"]["why"]


def test_curve_crosses_the_level_where_the_set_ends(geolift_test: dict[str, Any]) -> None:
    (result,) = geolift_test["results"]
    ((lower, upper),) = result["cells"][0]["effect"]["interval"]["segments"]
    (curve,) = result["curves"]
    kept = [e for e, p in zip(curve["effects"], curve["p_values"], strict=True) if not rejects(p, result["level"])]
    assert min(kept) == pytest.approx(lower, abs=1e-9)
    assert max(kept) == pytest.approx(upper, abs=1e-9)
    at_zero = curve["p_values"][curve["effects"].index(0.0)]
    assert at_zero == pytest.approx(result["cells"][0]["effect"]["p_value"], abs=1e-12)


def test_other_methods_stand_beside_the_analysis(geolift_test: dict[str, Any]) -> None:
    rows = geolift_test["results"][0]["methods"]
    assert [row["planned"] for row in rows] == [True] + [False] * (len(rows) - 1)
    names = [row["method"] for row in rows]
    assert {"synthetic-control", "augmented-synthetic-control", "synthetic-did", "did"} <= set(names)
    assert len(set(names)) == len(names)
    assert all((row["value"] is None) == bool(row["refusal"]) for row in rows)


def test_equal_studies_give_equal_bytes() -> None:
    first, second = (analyse_study(GeoStudy.load(study_path("geolift_test"))) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert first.digest == second.digest


# --- randomized splits -----------------------------------------------------------------------------------------------


def test_split_said_to_be_random_is_tested_over_exchanges_of_its_markets(tmp_path: Path) -> None:
    write(tmp_path)
    found = evidence_of(study_of(tmp_path, TEST))
    (result,) = found["results"]
    assert result["inference"] == "randomization"
    assert result["n_draws"] == 2_000
    assert found["headline"]["verdict"] == "shown"
    assert "drawn at random" in found["headline"]["assignment"]
    (curve,) = result["curves"]
    effect = result["cells"][0]["effect"]
    kept = [e for e, p in zip(curve["effects"], curve["p_values"], strict=True) if not rejects(p, result["level"])]
    assert min(kept) == pytest.approx(effect["interval"]["segments"][0][0], abs=1e-9)


def test_pairs_exchange_markets_within_a_pair_only(tmp_path: Path) -> None:
    write(tmp_path)
    pairs = pd.DataFrame({"city": [f"u{i:03d}" for i in range(N_UNITS)], "pair": [f"p{i % 8}" for i in range(N_UNITS)]})
    pairs.to_csv(tmp_path / "markets.csv", index=False)
    study = study_of(tmp_path, {**TEST, "pairs": "pair"}, markets="markets.csv")
    trial = read_trial(study)
    assert trial.split.strata is not None
    assert sorted(np.bincount(trial.split.strata).tolist()) == [2] * 8
    drawn = exchanged(trial, 200, rng=np.random.default_rng(0))
    assert (drawn[:, :8] + drawn[:, 8:] == 1).all()
    assert len(np.unique(drawn, axis=0)) > 100


def test_trimmed_match_compares_the_pairs_of_the_design(tmp_path: Path) -> None:
    if "trimmed-match" not in ESTIMATORS.names():
        pytest.skip("trimmed-match isn't there")
    write(tmp_path)
    pairs = pd.DataFrame({"city": [f"u{i:03d}" for i in range(N_UNITS)], "pair": [f"p{i % 8}" for i in range(N_UNITS)]})
    pairs.to_csv(tmp_path / "markets.csv", index=False)
    found = evidence_of(study_of(tmp_path, {**TEST, "pairs": "pair"}, markets="markets.csv"))
    row = next(row for row in found["results"][0]["methods"] if row["method"] == "trimmed-match")
    assert row["refusal"] == ""
    without = evidence_of(study_of(tmp_path, TEST))
    row = next(row for row in without["results"][0]["methods"] if row["method"] == "trimmed-match")
    assert row["refusal"]
    own = study_of(tmp_path, {**TEST, "pairs": "pair"}, markets="markets.csv", method={"name": "trimmed-match"})
    assert evidence_of(own)["results"][0]["inference"] == "sign-flip"


def test_claim_of_randomization_is_withdrawn_where_a_control_got_the_treatment(tmp_path: Path) -> None:
    write(tmp_path, got={"u010": "treated"})
    found = evidence_of(study_of(tmp_path, {**TEST, "actual": "got"}))
    assert found["delivery"]["verdict"] == "fail"
    assert [row["market"] for row in found["delivery"]["departures"]] == ["u010"]
    assert not found["delivery"]["still_random"]
    assert "withdrawn" in found["headline"]["assignment"]
    assert found["results"][0]["received"]
    assert found["headline"]["reservations"][0]["verdict"] == "fail"


def test_known_cost_gives_the_return_with_its_set(tmp_path: Path) -> None:
    write(tmp_path, spend=1.5)
    found = evidence_of(study_of(tmp_path, TEST, cost=True))
    (result,) = found["results"]
    (cell,) = result["cells"]
    own = next(row for row in result["returns"] if row["planned"])
    assert cell["cost"] == pytest.approx(1.5 * 8 * N_TEST, abs=1e-9)  # what write() says each treated market spent
    assert own["value"] == pytest.approx(cell["effect"]["value"] / 1.5, abs=1e-9)
    ends = cell["effect"]["interval"]["segments"][0]
    np.testing.assert_allclose(own["interval"]["segments"][0], np.array(ends) / 1.5, rtol=1e-6)


def test_without_a_cost_column_nothing_is_said_about_returns(tmp_path: Path) -> None:
    write(tmp_path)
    assert evidence_of(study_of(tmp_path, TEST))["results"][0]["returns"] == []


def test_cooldown_counts_and_later_periods_do_not(tmp_path: Path) -> None:
    write(tmp_path, n_after=6)
    trial = read_trial(study_of(tmp_path, {**TEST, "end": N_PRE + N_TEST, "cooldown": 4}))
    assert (trial.window.n_test, trial.window.n_cooldown, len(trial.history.periods)) == (N_TEST, 4, N_PRE + N_TEST + 4)
    assert trial.window.notes == ("2 periods after the test and its cooldown aren't used.",)
    short = read_trial(study_of(tmp_path, {**TEST, "end": N_PRE + N_TEST, "cooldown": 9}))
    assert short.window.n_cooldown == 6
    assert "asks for 9" in short.window.notes[0]


def test_looks_of_a_small_or_chosen_design_are_refused_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path)
    looks = {"looks": [N_PRE + 5, N_PRE + N_TEST]}
    chosen = evidence_of(study_of(tmp_path, {**TEST, **looks, "assignment": "chosen"}))
    assert chosen["looks"][0]["monitoring"] is None
    assert "weren't drawn" in chosen["looks"][0]["refusal"]
    asked = [doubt for doubt in chosen["headline"]["reservations"] if "look before the end" in doubt["question"]]
    assert [doubt["verdict"] for doubt in asked] == ["review"]
    # Eight of sixteen markets: C(16, 8) = 12,870 assignments.
    drawn = evidence_of(study_of(tmp_path, {**TEST, **looks}))
    assert "admits 12870 assignments, interim looks need at least 20,000" in drawn["looks"][0]["refusal"]
    cells = {"ads": TREATED[:4], "mail": TREATED[4:]}
    several = evidence_of(study_of(tmp_path, {**TEST, **looks, "cells": cells}))
    assert [row["cell"] for row in several["looks"]] == ["ads", "mail"]
    assert "one treated cell" in several["looks"][1]["refusal"]


def test_one_look_at_the_end_is_no_peeking(tmp_path: Path) -> None:
    write(tmp_path)
    once = evidence_of(study_of(tmp_path, {**TEST, "looks": [N_PRE + N_TEST], "assignment": "chosen"}))
    assert not [doubt for doubt in once["headline"]["reservations"] if "look before the end" in doubt["question"]]


# --- a sealed design -------------------------------------------------------------------------------------------------


def sealed(
    folder: Path,
    *,
    level: float = 0.9,
    estimator: str = "synthetic-control",
    duration: int = N_TEST,
    history: Panel | None = None,
) -> Ledger:
    """Seal a design of the history in ``sales.csv``, whose markets were chosen."""
    study = study_of(folder, None)
    if history is None:
        history = read_history(study, study.metric[0])
        history = replace(history.only(periods=np.arange(len(history.periods)) < N_PRE), cost=None)
    cells = Split(cells=np.repeat([1, 0], 8))
    content = {
        "study": {"name": "spring", "question": "Did it work?"},
        "data": {
            "metric": "sales",
            "units": history.units,
            "periods": history.periods,
            "fingerprint": history.fingerprint,
        },
        "seed": 0,
        "constraints": {"geo": study.to_dict()["geo"], "rules": [], "markets": None, "near": None},
        "selector": {"name": "search", "options": {}, "randomized": False, "n_admissible": None},
        "assignment": {"cells": cells.cells, "strata": None, "unit_weights": None},
        "planned_analysis": {
            "metric": "sales",
            "estimator": estimator,
            "options": {},
            "inference": "conformal",
            "inference_options": {},
            "level": level,
            "duration": duration,
            "cooldown": 0,
        },
        "files": {},
        "versions": {},
    }
    ledger = Ledger(content=content)
    (folder / "design.json").write_text(ledger.to_json())
    return ledger


LEDGER: dict[str, Any] = {"ledger": "design.json", "start": N_PRE + 1}
PLANNED = {"name": "synthetic-control", "inference": "conformal"}


def test_sealed_analysis_is_no_deviation(tmp_path: Path) -> None:
    write(tmp_path)
    ledger = sealed(tmp_path)
    found = evidence_of(study_of(tmp_path, LEDGER, method=PLANNED))
    assert found["plan"]["ledger"]["seal"] == ledger.seal
    assert found["plan"]["history_unchanged"] is True
    assert found["plan"]["deviations"] == []
    assert found["headline"]["stamp"] == ""
    assert found["trial"]["cells"][0]["markets"] == TREATED


@pytest.mark.parametrize(
    ("plan", "method", "told"),
    [
        ({"level": 0.8}, PLANNED, "level: planned 0.8, the study asks for 0.9"),
        ({"estimator": "did"}, PLANNED, "estimator: planned did, the study asks for synthetic-control"),
        ({"duration": 14}, PLANNED, "duration: planned 14 periods, the test ran 10"),
        (
            {},
            {"name": "synthetic-control", "inference": "t-test"},
            "inference: planned conformal, the study asks for t-test",
        ),
    ],
)
def test_deviation_from_the_sealed_plan_is_listed_and_stamped(
    plan: dict[str, Any], method: dict[str, Any], told: str, tmp_path: Path
) -> None:
    write(tmp_path)
    sealed(tmp_path, **plan)
    found = evidence_of(study_of(tmp_path, LEDGER, method=method))
    assert found["plan"]["deviations"] == [told]
    assert found["headline"]["stamp"] == "EXPLORATORY"
    rows = found["results"][0]["methods"]
    assert [row["method"] for row in rows if row["sealed"]] == ([plan["estimator"]] if "estimator" in plan else [])
    html = page.render(found, {"sales": figures.draw(found, "sales")})
    assert told in html
    assert "EXPLORATORY" in html


def test_changed_history_is_listed_not_hidden(tmp_path: Path) -> None:
    write(tmp_path)
    sealed(tmp_path)
    table = pd.read_csv(tmp_path / "sales.csv")
    table.loc[(table["city"] == "u009") & (table["day"] == 7), "sales"] += 0.25
    table.to_csv(tmp_path / "sales.csv", index=False)
    found = evidence_of(study_of(tmp_path, LEDGER, method=PLANNED))
    assert found["plan"]["history_unchanged"] is False
    assert [deviation.partition(":")[0] for deviation in found["plan"]["deviations"]] == ["history"]


def test_cost_read_since_the_design_is_no_change_of_its_history(tmp_path: Path) -> None:
    write(tmp_path, spend=2.0)
    sealed(tmp_path)
    found = evidence_of(study_of(tmp_path, LEDGER, method=PLANNED, cost=True))
    assert found["plan"]["history_unchanged"] is True


def test_history_with_gaps_is_compared_as_the_design_filled_it(tmp_path: Path) -> None:
    write(tmp_path)
    table = pd.read_csv(tmp_path / "sales.csv")
    table[~((table["city"] == "u011") & table["day"].isin([5, 6]))].to_csv(tmp_path / "sales.csv", index=False)
    values = mapping(LEDGER, method=PLANNED)
    values["data"]["on_missing"] = "impute"
    study = GeoStudy.from_mapping({**values, "geo": {}}, folder=tmp_path)
    history = read_history(study, study.metric[0])
    filled, _ = audit_history(history.only(periods=np.arange(len(history.periods)) < N_PRE), on_missing="impute")
    sealed(tmp_path, history=filled)
    assert evidence_of(GeoStudy.from_mapping(values, folder=tmp_path))["plan"]["history_unchanged"] is True


def test_driver_is_read_out_and_takes_no_part_in_the_verdict(tmp_path: Path) -> None:
    write(tmp_path, effect=0.0, spend=1.0)
    values = mapping(TEST)
    values["metric"].append({"name": "spent", "column": "spend", "role": "driver"})
    values["data"]["on_missing"] = "error"
    found = evidence_of(GeoStudy.from_mapping(values, folder=tmp_path))
    assert [result["metric"] for result in found["results"]] == ["sales", "spent"]
    assert found["results"][1]["cells"][0]["effect"]["value"] == pytest.approx(1.0, abs=1e-9)  # what write() spends
    assert (found["headline"]["metric"], found["headline"]["verdict"]) == ("sales", "not shown")
    (tmp_path / "page").mkdir()
    page.write(found, tmp_path / "page")
    assert "not part of the verdict" in (tmp_path / "page" / "report.html").read_text("utf-8")


def test_changed_ledger_is_refused_with_exit_code_4(tmp_path: Path) -> None:
    write(tmp_path)
    sealed(tmp_path)
    text = (tmp_path / "design.json").read_text()
    (tmp_path / "design.json").write_text(
        text.replace('"level":0.9', '"level":0.8').replace('"level": 0.9', '"level": 0.8')
    )
    with pytest.raises(LockError, match="changed after it was sealed") as refused:
        analyse_study(study_of(tmp_path, LEDGER))
    assert refused.value.exit_code == 4


def test_planned_market_that_the_table_lost_is_a_departure(tmp_path: Path) -> None:
    write(tmp_path)
    sealed(tmp_path)
    table = pd.read_csv(tmp_path / "sales.csv")
    table[table["city"] != "u012"].to_csv(tmp_path / "sales.csv", index=False)
    found = evidence_of(study_of(tmp_path, LEDGER, method=PLANNED))
    assert [(row["market"], row["kind"]) for row in found["delivery"]["departures"]] == [("u012", "missing")]
    assert found["plan"]["history_unchanged"] is False
    assert found["plan"]["deviations"][-1].endswith("(merged or renamed?): u012")
    assert "can't be drawn again" not in " ".join(found["plan"]["deviations"])  # nothing was drawn
    assert found["headline"]["stamp"] == "EXPLORATORY"


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"start": 99}, DataError, "start 99 lies outside the table"),
        ({"start": 1}, DataError, "nothing before the test"),
        ({"start": "2024-01-01"}, DataError, "periods look like 1"),
        ({"end": 12}, DataError, "end 12 lies before start"),
        ({"end": 77}, DataError, "end 77 lies outside"),
        ({"cooldown": 10}, DataError, "leaves none"),
        ({"cells": {"treated": ["u0001"]}}, DataError, "u000"),
        ({"cells": {"treated": []}}, DataError, "no market is named"),
        ({"cells": {"treated": ["u000", "u000"]}}, DataError, "named twice"),
        ({"cells": {"treated": ["u000"], "other": ["u000"]}}, DataError, "two places"),
        ({"controls": ["u000", "u009"]}, DataError, "two places: u000 (treated and controls)"),
        ({"controls": ["berlin"]}, DataError, "berlin"),
        ({"cells": {"treated": [f"u{i:03d}" for i in range(N_UNITS)]}}, DataError, "no market is left as a control"),
        ({"cells": {"control": ["u000"]}}, StudyError, "name the treated markets"),
        ({"actual": "delivered"}, DataError, "no column 'delivered'"),
        ({"actual": "sales"}, DataError, "names cells that the test doesn't have"),
        ({"pairs": "pair"}, StudyError, "names a column of [geo] markets"),
        ({"looks": [3]}, DataError, "looks must ascend and lie in the test, from 41 to 50"),
        ({"looks": [45, 44]}, DataError, "looks must ascend"),
    ],
)
def test_bad_test_is_refused_in_words(
    change: dict[str, Any], error: type[CausalbenchError], told: str, tmp_path: Path
) -> None:
    write(tmp_path)
    with pytest.raises(error) as refused:
        analyse_study(study_of(tmp_path, {**TEST, **change}))
    assert told in str(refused.value)
    assert "Traceback" not in str(refused.value)


def test_cell_names_follow_the_design_where_it_names_them(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(StudyError, match=r"'treated' is no cell of \[geo\] cells"):
        analyse_study(study_of(tmp_path, TEST, cells=["ads"]))


def test_study_without_a_test_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(StudyError, match=r"\[geo.test\] is missing"):
        analyse_study(study_of(tmp_path, None))


def test_missing_cost_column_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    values = mapping(TEST)
    values["data"]["cost"] = "budget"
    with pytest.raises(DataError, match="budget"):
        analyse_study(GeoStudy.from_mapping(values, folder=tmp_path))


def test_files_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    write(tmp_path / "study")
    sealed(tmp_path / "study")
    (tmp_path / "study" / "design.json").rename(tmp_path / "design.json")
    with pytest.raises(DataError, match="outside the study's folder"):
        analyse_study(study_of(tmp_path / "study", {"ledger": "../design.json", "start": N_PRE + 1}))


def test_busy_markets_and_those_barred_are_no_controls(tmp_path: Path) -> None:
    write(tmp_path)
    trial = read_trial(study_of(tmp_path, TEST, busy=["u010"], exclude={"control": ["u011"]}))
    assert trial.members(-1) == ("u010", "u011")
    assert len(trial.members(0)) == 6


def test_controls_may_be_named_as_a_cell(tmp_path: Path) -> None:
    write(tmp_path)
    trial = read_trial(study_of(tmp_path, {**TEST, "cells": {"treated": TREATED, "control": ["u009", "u010"]}}))
    assert trial.members(0) == ("u009", "u010")


def test_moments_are_found_exactly() -> None:
    assert index_of(3, (1, 3, 4), what="start") == 1
    with pytest.raises(DataError, match="is no period of the table"):
        index_of(2, (1, 3, 4), what="start")


def test_window_without_an_end_leaves_the_cooldown_at_the_end_of_the_table() -> None:
    study = GeoStudy.from_mapping(mapping({**TEST, "start": 4, "cooldown": 2}))
    assert study.geo.test is not None
    window = window_of(study.geo.test, tuple(range(1, 11)))
    assert (window.start, window.end, window.last) == (3, 8, 10)


# --- switchback ------------------------------------------------------------------------------------------------------


def switched(folder: Path, *, effect: float) -> GeoStudy:
    """Draw a schedule from 60 periods of history, and run it with a relative effect in the 48 after them."""
    panel = factor_panel(n_units=10, n_periods=108, n_treated=1, n_post=1, effect=0.0, rho=0.5, seed=3)
    long = pd.DataFrame(panel.outcome, index=panel.units, columns=panel.periods).stack().reset_index()
    long.columns = pd.Index(["city", "day", "sales"])
    geo = {"switchback": {"block": [6], "n_periods": 48, "washout": 2}}
    long[long["day"] <= 60].to_csv(folder / "sales.csv", index=False)
    found = design_switchback(study_of(folder, None, **geo))
    (folder / "schedule.csv").write_text(schedule_csv(found["schedule"]))
    for row in found["schedule"]:
        days = (long["day"] >= 60 + row["first"]) & (long["day"] <= 60 + row["last"])
        long.loc[(long["city"] == row["unit"]) & days, "sales"] *= 1 + effect * row["on"]
    long.to_csv(folder / "sales.csv", index=False)
    return study_of(folder, {"schedule": "schedule.csv", "start": 61}, **geo)


@pytest.mark.parametrize(("effect", "verdict"), [(0.3, "shown"), (0.0, "not shown")])
def test_switchback_is_read_out_by_its_own_schedules(effect: float, verdict: str, tmp_path: Path) -> None:
    found = evidence_of(switched(tmp_path, effect=effect))
    assert found["headline"]["verdict"] == verdict
    assert (found["trial"], found["results"]) == (None, [])
    (lower, upper) = found["switchback"]["results"][0]["uncertainty"]["interval"]["segments"][0]
    assert lower <= effect <= upper
    (tmp_path / "page").mkdir()
    page.write(found, tmp_path / "page")
    assert found["headline"]["sentence"] in (tmp_path / "page" / "report.html").read_text("utf-8")


def test_page_of_a_switchback_with_more_schedules_than_are_counted(tmp_path: Path) -> None:
    found = evidence_of(switched(tmp_path, effect=0.0))
    found["switchback"]["design"]["n_admissible"] = None  # what the evidence holds above 1e15
    (tmp_path / "page").mkdir()
    page.write(found, tmp_path / "page")
    assert "more than 10<sup>15</sup> schedules" in (tmp_path / "page" / "report.html").read_text("utf-8")


# --- page, figures, command ------------------------------------------------------------------------------------------


def test_page_is_offline_and_escapes_what_the_study_says(geolift_test: dict[str, Any], tmp_path: Path) -> None:
    hostile = json.loads(json.dumps(geolift_test))
    hostile["study"]["study"]["question"] = "<script>alert(1)</script>"
    hostile["results"][0]["cells"][0]["cell"] = "<b>x</b>"
    hostile["trial"]["cells"][0]["name"] = "<i>y</i>"
    page.write(hostile, tmp_path)
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "<script" not in html
    assert "<b>x</b>" not in html
    assert "<i>y</i>" not in html
    links = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert all(link.startswith(("https://doi.org", "https://", "#")) for link in links)
    assert not re.findall(r"<(?:script|link|img|iframe)", html)


def test_figures_say_in_words_what_they_show(geolift_test: dict[str, Any]) -> None:
    drawn = figures.draw(geolift_test)
    assert [drawing.name for drawing in drawn] == ["effect_path", "methods", "p_curve", "showcase"]
    assert all(drawing.alt and drawing.caption for drawing in drawn)
    assert "155.6" in drawn[0].alt


def command(*words: str) -> Any:
    app = typer.Typer()
    app.command("analyze")(analyze)
    return CliRunner().invoke(app, list(words))


def test_json_alone_prints_evidence_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    values = mapping(TEST)
    (tmp_path / "study.toml").write_text(
        "\n".join(
            [
                '[study]\nname = "spring"\nquestion = "Did it work?"',
                '[data]\nsource = "sales.csv"\nunit = "city"\nperiod = "day"',
                '[[metric]]\nname = "sales"\ncolumn = "sales"',
                f"[geo.test]\ncells = {{ treated = {json.dumps(values['geo']['test']['cells']['treated'])} }}",
                f'start = {N_PRE + 1}\nassignment = "random"',
                '[method]\nname = "did"',
            ]
        )
    )
    monkeypatch.chdir(tmp_path)
    before = sorted(map(str, tmp_path.rglob("*")))
    done = command(str(tmp_path), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kind"] == "geo-readout"
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_run_publishes_evidence_page_figures_and_the_notebook(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = command(str(study_path("geolift_test")), "--out", str(folder))
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "evidence.json").read_text("utf-8"))
    assert found["headline"]["sentence"] in done.output
    assert {path.name for path in folder.iterdir()} == {
        "evidence.json",
        "figures",
        "manifest.json",
        "notebook.ipynb",
        "report.html",
    }
    again = command(str(study_path("geolift_test")), "--out", str(folder))
    assert again.exit_code != 0


# --- what the headline says of sets that don't fit -------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(geolift: Panel) -> GeoResult:
    estimator = SyntheticControl(fixed_effects="unit")
    rng = np.random.default_rng(0)
    split = Split(cells=geolift.ever_treated.astype(int))
    return analyse(geolift, split, estimator=estimator, start=90, rng=rng, names=("treated",))


def with_set(
    result: GeoResult, segments: tuple[tuple[float, float], ...], p_value: float, verdict: str, **more: Any
) -> GeoResult:
    """Return a result whose cell has another set, as a test would have judged it."""
    (cell,) = result.cells
    interval = Interval(segments=segments, level=result.level, kind="conformal")
    misfit = CheckResult(name="misfit", question="Does one constant effect fit?", verdict=verdict, reason="both values")
    effect = replace(cell.effect, interval=interval, p_value=p_value)
    return replace(result, cells=(replace(cell, effect=effect, misfit=misfit, **more),))


def said(result: GeoResult, **more: Any) -> dict[str, Any]:
    asked = {"drawn": False, "deviations": (), "delivery_verdict": None, "checks": ()}
    return geo_headline(result, **(asked | more))


def test_empty_set_is_a_misfit_and_no_proof(result: GeoResult) -> None:
    headline = said(with_set(result, (), 0.0155, "fail"))
    assert headline["verdict"] == "misfit"
    assert headline["sentence"] == "No constant effect of the test on sales fits the data at the 90% level."
    assert "rejects every constant effect" in headline["why"]
    assert headline["reservations"][0]["verdict"] == "fail"
    assert "empty" in headline["answer"]


def test_set_that_misses_the_estimate_asks_for_review(result: GeoResult) -> None:
    headline = said(with_set(result, ((-20.0, 90.0),), 0.4, "review"))
    assert headline["verdict"] == "not shown"
    assert headline["reservations"] == [
        {"verdict": "review", "question": "Does one constant effect fit?", "reason": "both values"}
    ]


def test_several_cells_are_judged_by_what_holds_for_all(result: GeoResult) -> None:
    (cell,) = result.cells
    interval = Interval(segments=((10.0, 300.0),), level=0.9, kind="conformal")
    wide = Interval(segments=((-40.0, 350.0),), level=0.9, kind="conformal")
    alone = replace(cell.effect, interval=interval, p_value=0.06)
    both = replace(alone, adjusted_p=0.12, simultaneous=wide, adjustment="bonferroni")
    cells = tuple(replace(cell, cell=name, effect=both) for name in ("ads", "mail"))
    headline = said(replace(result, cells=cells))
    assert headline["verdict"] == "not shown"
    assert headline["sentence"].startswith("An effect of the test on sales is not shown in any cell")
    sharp = replace(both, adjusted_p=0.02, simultaneous=interval)
    shown = said(replace(result, cells=(replace(cells[0], effect=sharp), cells[1])))
    assert shown["verdict"] == "shown"
    assert "shown in ads at the 90% level for all 2 cells together" in shown["sentence"]


def test_the_verdict_counts_all_looks(result: GeoResult) -> None:
    panel = factor_panel(n_units=40, n_periods=88, n_treated=20, n_post=28, effect=0.0, rho=0.5, seed=0)
    cells = panel.ever_treated.astype(int)
    draws = np.random.default_rng(0).permuted(np.tile(cells, (20_000, 1)), axis=1)
    found = monitor(panel, Split(cells=cells), draws, start=60, looks=(7, 14, 21, 28), level=0.9)
    assert not rejects(found.uncertainty.p_value, 0.9)
    looked = Looked(cell="treated", monitoring=found, refusal="", early=True)
    alone = with_set(result, ((10.0, 300.0),), 0.06, "pass")
    assert said(alone)["verdict"] == "shown"
    headline = said(alone, looked=(looked,))
    assert headline["verdict"] == "not shown"
    assert "(adjusted for 4 planned looks, from the data up to 88)" in headline["why"]
    (segment,) = found.uncertainty.interval.segments
    assert interval_text({"segments": [segment]}) in headline["answer"]


def test_deviations_and_delivery_stand_next_to_the_headline(result: GeoResult) -> None:
    headline = said(result, deviations=("level: planned 0.8",), delivery_verdict="fail", drawn=True)
    assert headline["stamp"] == "EXPLORATORY"
    assert [doubt["verdict"] for doubt in headline["reservations"][:2]] == ["review", "fail"]
    assert "doesn't use the design's draws" in headline["assignment"]
