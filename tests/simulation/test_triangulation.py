"""False alarms of the verdict on consistency, its power, and coverage of the combination's interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.random import Generator

from causalbench.calibration.triangulate import Triangulation, triangulate
from causalbench.values import FloatArray

LOADINGS = np.array([[1, 0.2, 0], [1, 0.3, 0.1], [0.9, 0.1, 0.5], [0.7, 0.9, 0.2]])
DRAWS = 2000


def errors(n: int, rng: Generator, *, heavy: bool) -> FloatArray:
    """Draw errors of four methods that share most of what they get wrong; normal, or t with 3 degrees of freedom."""
    shared, own = ((rng.standard_t(3, (k, n)) if heavy else rng.standard_normal((k, n))) for k in (3, 4))
    return np.asarray(LOADINGS @ shared + 0.1 * own)


def draws(n_placebos: int, *, heavy: bool, off: float = 0.0, n_draws: int = DRAWS) -> list[Triangulation]:
    """Triangulate an effect of 5, where the last method is off by ``off``."""
    rng = np.random.default_rng(n_placebos)
    found = []
    for _ in range(n_draws):
        sets = errors(n_placebos + 1, rng, heavy=heavy)
        own = dict(zip("abcd", (5 + sets[:, 0] + [0, 0, 0, off]).tolist(), strict=True))
        found.append(triangulate(own, sets[:, 1:]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("n_placebos", [19, 40, 199])
def test_false_alarm_and_coverage(n_placebos: int, heavy: bool) -> None:
    """At most 5% where all methods are valid, and 95% of intervals hold the effect; 2,000 draws, Monte Carlo error .005."""
    found = draws(n_placebos, heavy=heavy)
    error = math.sqrt(0.05 * 0.95 / DRAWS)
    assert np.mean([one.consistent is False for one in found]) <= 0.05 + 2 * error
    held = np.mean([one.interval is not None and one.interval.contains(5.0) for one in found])
    assert 0.93 <= held <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("heavy", "share"), [(False, 0.95), (True, 0.5)])
def test_method_off_by_three_errors_is_noticed(heavy: bool, share: float) -> None:
    """40 placebos; 400 draws, Monte Carlo error at most .025."""
    found = draws(40, heavy=heavy, off=3.6, n_draws=400)
    assert np.mean([one.consistent is False for one in found]) >= share


@pytest.mark.slow
def test_groups_keep_the_size_where_placebos_overlap() -> None:
    """25 units with 8 near copies each: counted one by one, the test would reject more often; 1,000 draws, error .007."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(25), 8).tolist()
    alarms = []
    for _ in range(1000):
        sets = errors(26, rng, heavy=False)
        near = np.repeat(sets[:, 1:], 8, axis=1) + 0.02 * rng.standard_normal((4, 200))
        own = dict(zip("abcd", sets[:, 0].tolist(), strict=True))
        alarms.append(triangulate(own, near, groups=labels).consistent is False)
    assert np.mean(alarms) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)
