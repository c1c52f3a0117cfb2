"""R's CausalImpact on three series, reproduced under ``compat = "r"``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.values import Estimate
from causalbench.workflow.estimate import estimate

# Live R CausalImpact 1.4.1 with bsts 0.9.10; each file holds the data and R's answer.
CAPTURES = ("basic", "covariates", "seasonal")


def capture(reference: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((reference / "sc" / f"bsts_{name}.json").read_text("utf-8"))
    return found


def answer_of(found: dict[str, Any], seed: int) -> Estimate:
    controls = found["data"]["x"] or {}
    rows = np.array([found["data"]["y"], *controls.values()])
    treated = np.zeros(rows.shape, dtype=bool)
    treated[0, found["n_pre"] :] = True
    panel = Panel(outcome=rows, treated=treated, units=("y", *controls), periods=tuple(range(rows.shape[1])))
    seasons = {"seasons": found["model_args"]["nseasons"]} if found["model_args"] else {}
    return estimate(panel, "causal-impact", seed=seed, options={"compat": "r", **seasons})


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", CAPTURES)
def test_capture_is_reproduced(reference: Path, name: str, seed: int) -> None:
    found = capture(reference, name)
    answer, theirs = answer_of(found, seed), found["r_output"]
    width = theirs["ci_upper"] - theirs["ci_lower"]
    assert answer.value == pytest.approx(theirs["point_effect_mean"], rel=0.03)  # R CausalImpact 1.4.1
    assert answer.interval is not None
    lower, upper = answer.interval.segments[0]
    assert lower == pytest.approx(theirs["ci_lower"], abs=0.08 * width)  # R CausalImpact 1.4.1
    assert upper == pytest.approx(theirs["ci_upper"], abs=0.08 * width)  # R CausalImpact 1.4.1
    total = answer.detail["cumulative"]["value"]
    assert total == pytest.approx(theirs["cumulative_effect_total"], rel=0.03)  # R CausalImpact 1.4.1


@pytest.mark.parametrize("name", CAPTURES)
def test_tail_is_as_small_as_the_draws_allow(reference: Path, name: str) -> None:
    found = capture(reference, name)
    answer = answer_of(found, 0)
    assert found["r_output"]["p_value"] < 3e-4  # R's too: no draw of about 5000 on the other side
    assert answer.posterior_tail == pytest.approx(1 / 1001)
