"""The headline at the strength that the grade allows: shown, suggested, or no claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from causalbench.artifacts import plain
from causalbench.decision.grade import Grade
from causalbench.values import Interval
from causalbench.wording import interval_text, percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """The interval that the method's own past errors give around its estimate.

    Attributes
    ----------
    interval
        None where too few errors are known for the level.
    n_errors
        Number of placebo errors behind it.
    waived
        Why it doesn't count beside the method's own test, a clause; empty where it does: where rehearsals were like the launch,
        the test was wrong too often in them, and no draw by lot backs it.
    """

    interval: Interval | None
    n_errors: int
    waived: str = ""

    @property
    def holds_zero(self) -> bool:
        """Whether there is an interval, and no effect lies in it."""
        return self.interval is not None and self.interval.contains(0.0)

    def overturns(self, verdict: str) -> bool:
        """Whether an effect that the test shows isn't shown by the errors of the history."""
        return verdict == "shown" and not self.waived and self.holds_zero


def claim(headline: Mapping[str, Any], grade: Grade, *, calibrated: Calibrated | None = None) -> dict[str, Any]:
    """Return the headline with its words at the strength of the grade.

    ``test`` keeps what the method's own test says. An effect that the test shows stays ``shown`` only where the interval of
    the method's own past errors leaves out zero too; at grade C it is ``suggested``, and at D there is ``no claim`` and
    no number, unless the study overrides a refusal with a reason.

    Parameters
    ----------
    headline
        Of :func:`causalbench.decision.headline.headline`.
    grade
        Of :func:`causalbench.decision.grade.grade`.
    calibrated
        None where nothing was rehearsed.

    Examples
    --------
    >>> weak = Grade(letter="C", caps=(), would_change=())
    >>> text = {"metric": "sales", "verdict": "shown", "sentence": "An effect on sales is shown at the 90% level.",
    ...         "answer": "", "why": "p = 0.05."}
    >>> claim(text, weak)["sentence"]
    'The data hint at an effect on sales; at grade C that is too weak to call it shown.'
    """
    found = {
        **headline,
        "test": headline["verdict"],
        "calibrated": _calibrated_text(calibrated, str(headline["verdict"])),
    }
    if headline.get("override"):
        return found
    if grade.letter == "D":
        return _no_claim(found, grade)
    if found["verdict"] != "shown":
        return found
    if calibrated is not None and calibrated.interval is not None and calibrated.overturns(str(found["verdict"])):
        return _not_beyond_history(found, calibrated.interval, calibrated.n_errors)
    if grade.letter == "C":
        found["verdict"] = "suggested"
        found["sentence"] = (
            f"The data hint at an effect on {found['metric']}; at grade C that is too weak to call it shown."
        )
        found["why"] = f"{found['why']} {_because(grade)}"
    return found


def _no_claim(found: dict[str, Any], grade: Grade) -> dict[str, Any]:
    """Withdraw sentence and number; a refusal that names its own reason keeps its words."""
    if found["verdict"] == "not credible":
        return found
    metric = found["metric"]
    return {
        **found,
        "verdict": "no claim",
        "sentence": f"No claim: these data can't say what the launch did to {metric}.",
        "answer": "What the method computed is further below, for the record; it carries no claim.",
        "why": _because(grade),
        "calibrated": "",
    }


def _not_beyond_history(found: dict[str, Any], interval: Interval, n_errors: int) -> dict[str, Any]:
    level = percent(interval.level).replace(".0%", "%")
    why = f"The method's own test rejects no effect, but in {n_errors} rehearsals before the launch, when nothing had happened,"
    why += " it was wrong too often: by its errors there zero is compatible."
    return {
        **found,
        "verdict": "not shown",
        "sentence": f"An effect on {found['metric']} is not shown at the {level} level.",
        "why": why,
    }


def _because(grade: Grade) -> str:
    worst = [cap.reason for cap in grade.caps if cap.cap == grade.letter]
    return worst[0] if worst else ""


def _calibrated_text(calibrated: Calibrated | None, test: str) -> str:
    """Write the interval, and where it and the test disagree about no effect, which of them counts and why."""
    if calibrated is None or calibrated.interval is None:
        return ""
    level = percent(calibrated.interval.level).replace(".0%", "%")
    set_ = interval_text(plain(calibrated.interval))
    text = f"By the errors that the method made on this history before the launch, the {level} interval is {set_}."
    if test == "not shown" and not calibrated.holds_zero:
        text += (
            " It leaves out zero, but the method's own test counts: past errors can take a claim back, not make one."
        )
    if test == "shown" and calibrated.holds_zero and calibrated.waived:
        text += f" Zero lies in it, but the method's own test counts: {calibrated.waived}."
    return text
