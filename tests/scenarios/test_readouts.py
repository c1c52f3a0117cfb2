"""Readouts of launches whose truth is known say what the acceptance list demands, and their twins aren't called effects.

Rates over 50 seeds with their Monte Carlo error: ``benchmarks/scenarios.py``. Here a few seeds each, from 0 on: an interval may
miss its truth once in them, anything else that isn't said is a fault.
"""

from __future__ import annotations

import pytest

from causalbench.data import scenarios
from causalbench.data.scenarios.demands import demands
from causalbench.study import GeoStudy, load_study
from causalbench.workflow.geo_analysis import analyse_study
from causalbench.workflow.readout import readout

QUICK = ("A2", "A9", "A11", "A13")
LONG = tuple(name for name in scenarios.NAMES if name not in QUICK)


def unmet(name, folder, *, seed, effect):
    """Answer one draw and return what its readout doesn't say."""
    study = load_study(scenarios.write(name, folder / f"{name}-{seed}-{effect}", seed=seed, effect=effect))
    found = analyse_study(study) if isinstance(study, GeoStudy) else readout(study)
    truth = scenarios.draw(name, seed=seed, effect=effect).truth
    return [one.text for one in demands(name, found.to_dict(), truth, effect=effect) if not one.met]


def held(name, folder, *, seeds, effect):
    missing = [text for seed in seeds for text in unmet(name, folder, seed=seed, effect=effect)]
    by_chance = [text for text in missing if "truth" in text or text == "nothing is called an effect"]
    assert len(missing) == len(by_chance), missing
    assert len(by_chance) <= 1


@pytest.mark.parametrize("effect", [True, False])
@pytest.mark.parametrize("name", QUICK)
def test_quick_scenarios(name, effect, tmp_path):
    held(name, tmp_path, seeds=(0, 1), effect=effect)


@pytest.mark.slow
@pytest.mark.parametrize("effect", [True, False])
@pytest.mark.parametrize("name", LONG)
def test_long_scenarios(name, effect, tmp_path):
    held(name, tmp_path, seeds=(0, 1), effect=effect)


def test_a_readout_that_says_nothing_meets_no_demand():
    """The demands can fail: evidence without checks, backtest and decision is held against all of them."""
    silent = {
        "headline": {"verdict": "shown", "answer": "", "assignment": ""},
        "grade": {"grade": "A", "would_change": []},
        "decision": {
            "verdicts": [{"detectable": None}],
            "dynamics": None,
            "value": None,
            "recommendation": {"action": "ship"},
        },
        "estimates": [{"estimator": "did", "interval": None, "weights": {}, "detail": {"relative": 0.0}}],
        "checks": {"sales": []},
        "backtest": {"table": []},
    }
    for name in ("A6", "A7", "A12", "A15"):
        truth = scenarios.draw(name, seed=0).truth
        assert not any(one.met for one in demands(name, silent, truth, effect=True)), name
    assert [one.met for one in demands("A6", silent, {}, effect=False)] == [False]
