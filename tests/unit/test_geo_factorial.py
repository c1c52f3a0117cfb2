"""Main effects and interaction of a 2 x 2 experiment over markets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from causalbench.data.panel import Panel
from causalbench.errors import RefusalError, StudyError
from causalbench.estimators.did import Did
from causalbench.geo.factorial import factorial
from causalbench.geo.multiplicity import max_t
from causalbench.geo.randomization import drawn_effects

NAMES = ("mail", "both", "ads")
FACTORS = {"ads": ("ads", "both"), "mail": ("both", "mail")}


def test_contrasts_are_the_differences_of_cell_means() -> None:
    # Cell means of a 2 x 2 table by hand: none 10, ads 13, mail 11, both 18. Ads: ((13 - 10) + (18 - 11)) / 2 = 5; mail:
    # ((11 - 10) + (18 - 13)) / 2 = 3; interaction: (18 - 11) - (13 - 10) = 4.
    effects = np.array([11.0, 18.0, 13.0]) - 10.0
    contrasts = factorial(NAMES, FACTORS)
    assert [c.name for c in contrasts] == ["ads", "mail", "ads x mail"]
    assert [float(c.weights @ effects) for c in contrasts] == [5.0, 3.0, 4.0]


def test_each_move_changes_its_own_contrast_alone() -> None:
    contrasts = factorial(NAMES, FACTORS)
    moved = [[float(c.weights @ other.move) for other in contrasts] for c in contrasts]
    assert moved == np.eye(3).tolist()


@pytest.mark.parametrize(
    ("names", "factors"),
    [
        (NAMES, {"ads": ("ads", "both")}),
        (NAMES, {"ads": ("ads", "both"), "mail": ("mail",)}),
        (("ads", "mail"), {"ads": ("ads",), "mail": ("mail",)}),
        (NAMES, {"ads": ("ads",), "mail": ("mail",), "tv": ("both",)}),
    ],
)
def test_anything_but_two_by_two_is_refused(names: tuple[str, ...], factors: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(RefusalError, match="two factors and three treated cells"):
        factorial(names, factors)


def test_unknown_cell_is_named_with_the_nearest() -> None:
    with pytest.raises(StudyError, match=r"'botj'.*did you mean 'both'"):
        factorial(NAMES, {"ads": ("ads", "botj"), "mail": ("mail", "both")})


@pytest.mark.parametrize("constant", [0.0, 5.0])
def test_what_one_change_does_leaves_the_tests_of_the_others_as_they_are(constant: float) -> None:
    # 48 markets, 2 x 2; ads add a constant to both of their cells, which is taken off at its estimate.
    rng = np.random.default_rng(7)
    cells = rng.permutation(np.repeat([0, 1, 2, 3], 12))
    outcome = rng.normal(size=(48, 30)) + 10
    ads = np.isin(cells, (2, 3))[:, None] & (np.arange(30) >= 20)
    panel = Panel(
        outcome=outcome,
        treated=np.zeros(outcome.shape, dtype=bool),
        units=tuple(f"m{i:02d}" for i in range(48)),
        periods=tuple(range(30)),
    ).assigned_to(cells > 0, start=20)
    draws = np.array([rng.permutation(cells) for _ in range(999)])
    contrasts = factorial(NAMES, FACTORS)
    plain = max_t(drawn_effects(Did(), panel, draws, actual=cells), contrasts, level=0.9)
    more = replace(panel, outcome=outcome + constant * ads)
    moved = max_t(drawn_effects(Did(), more, draws, actual=cells), contrasts, level=0.9)
    for one, other, by in zip(plain, moved, (constant, 0.0, 0.0), strict=True):
        assert np.allclose(np.array(one.interval.segments) + by, other.interval.segments, atol=1e-7)
    assert [one.p_value for one in plain[1:]] == [one.p_value for one in moved[1:]]
    if constant:
        assert moved[0].p_value == 0.001
