"""LaLonde: with PSID-1 as the comparison group there is no headline, with the experiment there is one.

Dehejia, Wahba (1999), https://doi.org/10.1080/01621459.1999.10473858; figures of the reference folder's MANIFEST.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

import causalbench as cb
from causalbench.data.datasets import study_path
from causalbench.study import ComparisonStudy

COVARIATES = ["age", "education", "black", "hispanic", "married", "nodegree", "re74", "re75", "u74", "u75"]


def study_of(reference: Path, folder: Path, controls: str, **method: object) -> ComparisonStudy:
    for name in ("nsw_dw.csv", controls):
        shutil.copyfile(reference / "dag" / "lalonde" / name, folder / name)
    rows = f"select * from 'nsw_dw.csv' where treat = 1 union all by name select * from '{controls}'"
    return ComparisonStudy.from_mapping(
        {
            "study": {"name": "lalonde", "question": "Did training raise earnings?"},
            "data": {
                "sql": f"select *, (re74 = 0)::int as u74, (re75 = 0)::int as u75 from ({rows})",
                "covariates": COVARIATES,
                "before": "re75",
            },
            "metric": [{"name": "earnings", "column": "re78", "aggregate": "mean"}],
            "launch": {"treatment": "treat", "assignment": "opt-in"},
            "method": {"name": "adjustment", **method},
        },
        folder=folder,
    )


def test_psid_is_not_credible_and_only_an_override_in_words_gives_a_headline(reference: Path, tmp_path: Path) -> None:
    found = cb.readout(study_of(reference, tmp_path, "psid_controls.csv"))
    verdicts = {check.name: check.verdict for check in found.checks["earnings"]}
    assert found.headline["verdict"] == "not credible"
    assert verdicts["overlap"] == "fail"
    assert not any(character.isdigit() for character in str(found.headline))
    overlap = next(check for check in found.checks["earnings"] if check.name == "overlap")
    assert overlap.table["ess_control"] == pytest.approx(9.7, abs=0.05)  # MANIFEST dag/lalonde
    assert overlap.table["ess_control"] == pytest.approx(found.estimates[0].detail["ess_control"], rel=1e-6)
    assert verdicts["negative-control-outcome"] == "fail"
    assert overlap.table["n_control"] == 2490
    shown = cb.readout(study_of(reference, tmp_path, "psid_controls.csv", override="a lecture on what goes wrong"))
    assert shown.headline["verdict"] in ("shown", "not shown")
    assert shown.headline["override"].endswith("because the study says so: a lecture on what goes wrong")


def test_survey_that_overlaps_has_a_headline_near_the_experiment() -> None:
    survey = cb.readout(cb.load_study(study_path("lalonde")))
    experiment = cb.readout(cb.load_study(study_path("lalonde").parent / "experiment.toml"))
    assert {survey.headline["verdict"], experiment.headline["verdict"]} <= {"shown", "not shown"}
    assert experiment.estimates[0].value == pytest.approx(1794.34, abs=200)  # MANIFEST: difference of means
    (interval,) = survey.estimates[0].interval.segments
    assert interval[0] < 1794.34 < interval[1]


def test_shipped_experiment_is_the_published_one(reference: Path) -> None:
    ours = pd.read_csv(study_path("lalonde").parent / "experiment.csv")
    theirs = pd.read_csv(reference / "dag" / "lalonde" / "nsw_dw.csv")[list(ours)]
    columns = list(ours)
    pd.testing.assert_frame_equal(
        ours.sort_values(columns, ignore_index=True),
        theirs.sort_values(columns, ignore_index=True),
        check_dtype=False,
        rtol=1e-6,
    )
    survey = pd.read_csv(study_path("lalonde").parent / "survey.csv")
    cps3 = pd.read_csv(reference / "dag" / "lalonde" / "cps_controls3.csv")[columns]
    pd.testing.assert_frame_equal(
        survey.sort_values(columns, ignore_index=True),
        cps3.sort_values(columns, ignore_index=True),
        check_dtype=False,
        rtol=1e-6,
    )
    means = ours.groupby("treat")["re78"].mean()
    assert means[1] - means[0] == pytest.approx(1794.34, abs=0.005)  # MANIFEST
