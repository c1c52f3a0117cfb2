"""How far the evidence of a geo test carries: the rules of :mod:`causalbench.decision.grade` on a test's own facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from causalbench.decision.grade import Grade, Grounds, grade
from causalbench.geo.delivery import Delivery
from causalbench.values import CheckResult

Plan = Literal["none", "kept", "changed"]


def geo_grade(
    *,
    verdict: str,
    level: float,
    randomized: bool,
    delivery: Delivery | None,
    plan: Plan,
    checks: Iterable[tuple[str, CheckResult]] = (),
    deviations: Sequence[str] = (),
) -> Grade:
    """Grade a geo test.

    A test that was drawn at random, ran as drawn and kept its sealed design can be an A; one whose markets departed from the
    draw is graded like a choice of markets, and the failed delivery caps it at C.

    Parameters
    ----------
    verdict, level
        Of the headline, and its confidence level.
    randomized
        Whether the design drew its markets.
    delivery
        How the test ran against its plan; None where nothing was planned by market.
    plan
        Whether a sealed design was kept.
    checks
        Name of a cell and a check on the assumptions of the analysis there.
    deviations
        What differs from the sealed design.

    Examples
    --------
    >>> geo_grade(verdict="shown", level=0.9, randomized=True, delivery=None, plan="kept").letter
    'A'
    """
    found = [check for _, check in checks]
    if delivery is not None:
        found.append(_delivered(delivery))
    drawn = "chosen" if not randomized else "broken draw" if delivery and not delivery.still_random else "random"
    grounds = Grounds(
        assignment=drawn,
        verdict=verdict,
        level=level,
        n_post=0,  # its rehearsals are those of its design
        checks=found,
        plan="changed" if deviations else plan,
    )
    return grade(grounds)


def _delivered(delivery: Delivery) -> CheckResult:
    return CheckResult(
        name="delivery",
        question="Was the test delivered as planned?",
        verdict=delivery.verdict,
        reason=delivery.grade_cap or " ".join(delivery.sentences),
        remedy="Read both answers: by the plan, and by what the markets got.",
    )
