"""Switchbacks from a study file: design, schedule.csv, readout."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causalbench.data.simulate import factor_panel
from causalbench.errors import DataError, RefusalError, StudyError
from causalbench.study import GeoStudy
from causalbench.workflow.geo_switchback import analyse_switchback, design_switchback, schedule_csv

N_HISTORY, BLOCK, N_BLOCKS = 60, 6, 8


def study_of(folder: Path, *, test: dict[str, Any] | None = None, **geo: Any) -> GeoStudy:
    plan = {"block": [2, BLOCK], "n_periods": BLOCK * N_BLOCKS, "washout": 2, "carry_over": 0.3}
    return GeoStudy.from_mapping(
        {
            "study": {"name": "prices", "question": "Do higher prices pay?"},
            "data": {"source": "sales.csv", "unit": "city", "period": "day"},
            "metric": [{"name": "sales", "column": "sales"}],
            "geo": {"switchback": plan, "smallest_worthwhile_effect": 0.05, **({"test": test} if test else {}), **geo},
        },
        folder=folder,
    )


def write(folder: Path, *, n_units: int = 10, on: np.ndarray | None = None, effect: float = 0.0) -> None:
    """Write a table of the history, and of the test where a schedule by period is given; ``sick`` never takes part."""
    n_test = 0 if on is None else on.shape[1]
    panel = factor_panel(
        n_units=n_units + 1, n_periods=N_HISTORY + 48, n_treated=1, n_post=1, effect=0.0, rho=0.5, seed=3
    )
    rows = [["city", "day", "sales", "on"]]
    for i in range(n_units + 1):
        name = f"u{i:02d}" if i < n_units else "sick"
        for t in range(N_HISTORY + n_test):
            switched = int(on[i, t - N_HISTORY]) if on is not None and t >= N_HISTORY and i < n_units else 0
            value = float(panel.outcome[i, t] - 1e-9) * (10 + i) * (1 + effect * switched)
            rows.append([name, str(t + 1), repr(value), str(switched)])
    (folder / "sales.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")


def ran(folder: Path, *, effect: float = 0.3) -> tuple[dict[str, Any], np.ndarray]:
    """Design, write the schedule and the sealed digest, and run the test."""
    write(folder)
    found = design_switchback(study_of(folder, busy=["sick"]))
    (folder / "schedule.csv").write_text(schedule_csv(found["schedule"]))
    (folder / "design.json").write_text(json.dumps({"switchback": {"schedule_digest": found["schedule_digest"]}}))
    on = np.zeros((10, found["chosen"]["block"] * found["chosen"]["n_blocks"]), dtype=bool)
    for row in found["schedule"]:
        on[found["markets"].index(row["unit"]), row["first"] - 1 : row["last"]] = row["on"] == 1
    write(folder, on=on, effect=effect)
    return found, on


TEST = {"schedule": "schedule.csv", "start": N_HISTORY + 1}


def test_design_compares_plans_and_draws_a_balanced_schedule(tmp_path: Path) -> None:
    write(tmp_path)
    told: list[str] = []
    found = design_switchback(study_of(tmp_path, busy=["sick"]), tell=told.append)
    assert "sick" not in found["markets"]
    assert [(row["block"], row["washout"]) for row in found["candidates"]] == [(2, 0), (6, 0), (6, 2)]
    assert found["chosen"]["washout"] == 2
    assert "Blocks of 6 periods with a washout of 2" in found["reason"]
    on = np.array([row["on"] for row in found["schedule"]]).reshape(10, N_BLOCKS)
    assert (on.sum(axis=0) == 5).all()
    assert (on.sum(axis=1) == 4).all()
    assert len(told) == 2
    json.dumps(found, allow_nan=False)


def test_same_study_gives_the_same_schedule_and_another_seed_another(tmp_path: Path) -> None:
    write(tmp_path)
    one, two = (design_switchback(study_of(tmp_path, exclude=["sick"])) for _ in range(2))
    assert one == two
    other = study_of(tmp_path, exclude=["sick"])
    moved = other.model_copy(update={"run": other.run.model_copy(update={"seed": 1})})
    assert design_switchback(moved)["schedule_digest"] != one["schedule_digest"]


def test_schedule_csv_reads_back(tmp_path: Path) -> None:
    rows = [{"unit": 'new "york", ny', "pair": 0, "block": 1, "first": 1, "last": 2, "read_from": 1, "on": 1}]
    assert next(csv.DictReader(io.StringIO(schedule_csv(rows))))["unit"] == 'new "york", ny'


def test_readout_finds_the_effect_and_knows_its_schedule(tmp_path: Path) -> None:
    designed, _ = ran(tmp_path)
    found = analyse_switchback(study_of(tmp_path, test=TEST | {"ledger": "design.json", "actual": "on"}))
    assert found["sealed"] is True
    assert found["schedule_digest"] == designed["schedule_digest"]
    (result,) = found["results"]
    assert result["relative"]
    assert result["value"] == pytest.approx(0.3, abs=0.1)
    assert result["uncertainty"]["p_value"] <= 0.1
    assert found["delivery"]["verdict"] == "pass"
    assert (found["start"], found["end"]) == (61, 108)
    json.dumps(found, allow_nan=False)
    assert analyse_switchback(study_of(tmp_path, test=TEST))["sealed"] is None


def test_design_never_looks_at_the_test(tmp_path: Path) -> None:
    before, _ = ran(tmp_path, effect=5.0)
    again = design_switchback(study_of(tmp_path, test=TEST, busy=["sick"]))
    assert again["schedule_digest"] == before["schedule_digest"]
    assert again["n_history"] == N_HISTORY


def test_what_was_not_delivered_is_counted_by_market(tmp_path: Path) -> None:
    _, on = ran(tmp_path)
    delivered = on.copy()
    delivered[3, :6] = ~delivered[3, :6]
    write(tmp_path, on=delivered, effect=0.3)
    found = analyse_switchback(study_of(tmp_path, test=TEST | {"actual": "on"}))
    assert found["delivery"]["verdict"] == "review"
    assert found["delivery"]["reason"].startswith(
        "6 of 480 market-periods weren't delivered as drawn, in 1 market: u03"
    )
    write(tmp_path, on=~on, effect=0.3)
    assert analyse_switchback(study_of(tmp_path, test=TEST | {"actual": "on"}))["delivery"]["verdict"] == "fail"


def test_another_schedule_than_the_sealed_one_is_refused(tmp_path: Path) -> None:
    ran(tmp_path)
    (tmp_path / "design.json").write_text(json.dumps({"schedule_digest": "0" * 64}))
    with pytest.raises(DataError, match="isn't the one that"):
        analyse_switchback(study_of(tmp_path, test=TEST | {"ledger": "design.json"}))
    (tmp_path / "design.json").write_text("{}")
    with pytest.raises(DataError, match="holds no switchback"):
        analyse_switchback(study_of(tmp_path, test=TEST | {"ledger": "design.json"}))
    (tmp_path / "design.json").write_text("{")
    with pytest.raises(DataError, match="can't be read"):
        analyse_switchback(study_of(tmp_path, test=TEST | {"ledger": "design.json"}))


def test_schedules_and_starts_that_dont_fit_the_table_are_refused(tmp_path: Path) -> None:
    ran(tmp_path)
    with pytest.raises(DataError, match="start 400 is no period"):
        analyse_switchback(study_of(tmp_path, test=TEST | {"start": 400}))
    with pytest.raises(DataError, match="covers 48 periods"):
        analyse_switchback(study_of(tmp_path, test=TEST | {"start": 80}))
    with pytest.raises(DataError, match="nowhere"):
        analyse_switchback(study_of(tmp_path, test=TEST | {"schedule": "nowhere.csv"}))
    text = (tmp_path / "schedule.csv").read_text()
    (tmp_path / "schedule.csv").write_text(text.replace("u03", "atlantis"))
    with pytest.raises(DataError, match="1 markets that the table doesn't have: atlantis"):
        analyse_switchback(study_of(tmp_path, test=TEST))


@pytest.mark.parametrize(
    "test", [{"schedule": "s.csv", "cells": {"treated": ["a"]}, "start": 3}, {"schedule": "s.csv"}]
)
def test_contradictions_in_the_study_are_named(tmp_path: Path, test: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=r"geo\.test"):
        study_of(tmp_path, test=test)


def test_studies_without_a_switchback_are_refused(tmp_path: Path) -> None:
    values = study_of(tmp_path)
    with pytest.raises(StudyError, match=r"\[geo\.test\] needs schedule and start"):
        analyse_switchback(values)
    bare = values.model_copy(update={"geo": values.geo.model_copy(update={"switchback": None})})
    with pytest.raises(StudyError, match=r"\[geo\.switchback\] is missing"):
        design_switchback(bare)


def test_markets_that_dont_exist_and_histories_too_short_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match="doesn't have: 'sicc'"):
        design_switchback(study_of(tmp_path, busy=["sicc"]))
    plan = {"block": [50], "n_periods": 100}
    with pytest.raises(RefusalError, match="100 periods can't be played on a history of 60"):
        design_switchback(study_of(tmp_path, switchback=plan, level=0.8))
