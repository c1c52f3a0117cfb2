"""Geo tests are graded by the rules of all studies, on what was drawn and what was delivered."""

from types import SimpleNamespace

import pytest

from causalbench.decision.geo_grade import geo_grade


def delivered(verdict="pass", *, random=True, cap=None):
    return SimpleNamespace(verdict=verdict, still_random=random, grade_cap=cap, sentences=("All as planned.",))


@pytest.mark.parametrize(
    ("changed", "letter", "rules"),
    [
        ({}, "A", []),
        ({"plan": "none"}, "B", ["plan"]),
        ({"deviations": ("another level",)}, "C", ["plan"]),
        ({"randomized": False}, "B", ["assignment"]),
        ({"delivery": delivered("review")}, "B", ["check:delivery"]),
        ({"delivery": delivered("fail", random=False, cap="Three got it.")}, "C", ["check:delivery", "assignment"]),
    ],
)
def test_a_test_is_an_a_only_where_it_was_drawn_ran_as_drawn_and_kept_its_design(changed, letter, rules):
    given = {"verdict": "shown", "level": 0.9, "randomized": True, "delivery": delivered(), "plan": "kept", **changed}
    found = geo_grade(**given)
    assert (found.letter, [cap.rule for cap in found.caps]) == (letter, rules)
